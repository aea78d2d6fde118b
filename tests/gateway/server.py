"""The stand-in as a running server, in a thread of this process or as the process itself."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tests.gateway.app import App


def configuration(app: App) -> uvicorn.Config:
    """Uvicorn, plain HTTP/1.1."""
    return uvicorn.Config(
        app,
        log_level="critical",
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        proxy_headers=False,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=2**20,  # so that a long URL meets the application's 414
    )


@contextmanager
def serving(app: App) -> Iterator[str]:
    """Serve from a thread on a free port of this host; gives the URL, and stops at the end."""
    listener = _listener()
    server = uvicorn.Server(configuration(app))
    thread = threading.Thread(target=server.run, args=([listener],), name="gateway", daemon=True)
    thread.start()  # requests that come before it accepts wait in the listener's queue
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        app.database.close()


def _listener() -> socket.socket:
    """A free port of this host.

    The protocol is named: asyncio turns Nagle's algorithm off only where it is, and an answer would wait 40 ms.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener
