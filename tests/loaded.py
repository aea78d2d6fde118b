"""``medallion`` from a process that has loaded it: what it does, without the second that a Python takes to get there.

A server that has imported the program, and has done nothing else, forks for each command; the command gets the folder,
the settings and the three streams of whoever asked, and begins where every way of starting the program begins. For
commands that end by themselves: a signal would reach the one that asked, and not the command.
"""

import atexit
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path

ASK = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"!"], [0, 1, 2])
    asked = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "env": dict(os.environ)}}
    server.sendall(json.dumps(asked).encode())
    server.shutdown(socket.SHUT_WR)
    ended = server.recv(1)
sys.exit(ended[0] if ended else 137)
"""


@cache
def folder_of_commands() -> Path:
    """A folder, for the head of a PATH, with a ``medallion`` in it."""
    folder = Path(tempfile.mkdtemp(prefix="medallion-tests-loaded-"))
    address, ready = folder / "server", folder / "medallion"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.loaded", address],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(_end, server, folder)
    assert server.stdout is not None
    if not server.stdout.readline():
        raise AssertionError("the program could not be loaded")
    ready.write_text(ASK.format(python=sys.executable, address=str(address)))
    ready.chmod(0o755)
    return folder


def _end(server: "subprocess.Popen[bytes]", folder: Path) -> None:
    server.communicate()
    for path in (*folder.iterdir(), folder):
        path.rmdir() if path is folder else path.unlink()


def serve(address: str) -> None:
    """Fork for each that asks, until whoever started this has gone."""
    import elt.checks
    import elt.cli.inspect
    import elt.cli.layers
    import elt.cli.operate
    import elt.cli.quarantine
    import elt.cli.setup
    import elt.cli.snapshots
    import elt.gold.main
    import elt.hosted
    import elt.lakehouse.launcher
    import elt.lakehouse.supabase
    import elt.silver.main
    import elt.sources.postgres
    import elt.sources.sample
    import elt.sources.supabase  # noqa: F401 - forks find it loaded

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while sys.stdin.fileno() not in select.select([listener, sys.stdin], [], [])[0]:
            asker, _ = listener.accept()
            if not os.fork():
                listener.close()
                _command(asker)
            asker.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    with suppress(ChildProcessError):  # whoever asked for them has gone: they end by themselves
        while os.wait():
            pass


def _command(asker: socket.socket) -> None:
    """The command, in this process, and its exit code to whoever asked."""
    _, streams, _, _ = socket.recv_fds(asker, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    asked = json.loads(b"".join(iter(lambda: asker.recv(2**16), b"")))
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["medallion", *asked["arguments"]]
    code = _main()
    with suppress(OSError):
        asker.sendall(bytes([code]))
    os._exit(code)


def _main() -> int:
    from elt.start import main

    try:
        main()
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
