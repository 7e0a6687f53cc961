"""The local server: its socket, and how it stops."""

import asyncio
import errno
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from mangum.types import ASGI

from handler.connections import KEEP_ALIVE_SECONDS, Connection
from handler.signals import announce, exit_status

BACKLOG = 128  # asyncio accepts this many connections in a row, before any can be closed
GRACE_SECONDS = 1.0  # for the requests that run when the server is stopped
# Requests that are embedded at once: more than there are workers, since those that wait share runs. With 64, threads
# change places more often, and fewer requests are served (benchmarks/README.md).
REQUESTS = 16
# A thread that returns from a run waits this long for another to release Python's interpreter lock, and its worker is
# idle meanwhile. Python's 5 ms are longer than the run of a short text.
SWITCH_SECONDS = 0.0005


class Server(uvicorn.Server):
    """uvicorn's server; a signal ends it in at most GRACE_SECONDS, and a second signal at once."""

    stopped_by = 0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve with threads that embed several requests at once."""
        sys.setswitchinterval(SWITCH_SECONDS)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(REQUESTS, "request"))
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: object) -> None:  # noqa: ARG002 - uvicorn's signature
        """Stop accepting connections, and end the process even if a request runs on."""
        status = exit_status(sig)
        if self.stopped_by:
            os._exit(status)
        self.stopped_by, self.should_exit = sig, True
        announce(sig)
        timer = threading.Timer(GRACE_SECONDS, os._exit, [status])
        timer.daemon = True
        timer.start()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; exit with one line if there cannot be one."""
    try:
        # asyncio disables Nagle's algorithm only for a socket that names its protocol: 40 ms per response otherwise
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, socket_address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(socket_address)
        listener.listen()
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            remedy = "choose an address of this machine: make run HOST=127.0.0.1"
        else:
            remedy = f"choose another port: make run PORT={port % 65535 + 1}"
        sys.exit(f"cannot listen on {host}:{port}: {error}; {remedy}")
    return listener


def address(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGI, listener: socket.socket) -> int:
    """Serve until a signal arrives; return the status to exit with."""
    config = uvicorn.Config(
        app, http=Connection, ws="none", backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_SECONDS, log_level="warning"
    )
    server = Server(config)
    server.run(sockets=[listener])
    return exit_status(server.stopped_by)
