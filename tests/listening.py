"""A real HTTP server that keeps what it is sent: the far side of webhooks, heartbeats and collectors."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Listener:
    """What came: method, path, body, and the headers of each. ``answers`` are the next status codes, then 200.

    ``redirects``: from a path to the address that it is redirected to.
    """

    url: str
    received: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)

    @property
    def documents(self) -> list[dict[str, object]]:
        """The bodies as JSON."""
        return [json.loads(body) for _, _, body in self.received if body]


@contextmanager
def listening() -> Iterator[Listener]:
    """A server for the time of a test."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            listener.received.append((self.command, self.path, body))
            listener.headers.append(dict(self.headers))
            if location := listener.redirects.get(self.path):
                self.send_response(307)
                self.send_header("location", location)
            else:
                self.send_response(listener.answers.pop(0) if listener.answers else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        listener = Listener(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown()
            thread.join()
