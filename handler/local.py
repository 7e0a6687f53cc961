"""The service on this machine: `python -m handler.local` serves; given a text, it prints the text's vector."""

import argparse
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import uvicorn

from handler.connections import KEEP_ALIVE_SECONDS, Connection
from handler.errors import UnavailableError

if TYPE_CHECKING:
    from handler.models.catalog import Catalog

HOST = "127.0.0.1"
BACKLOG = 128  # asyncio accepts this many connections in a row, before any can be closed
EXAMPLE = "The food was delicious and the waiter..."


def main() -> None:
    """Embed one text, or serve until interrupted."""
    parser = argparse.ArgumentParser(description="Embed one text, or serve embeddings on loopback.")
    parser.add_argument("text", nargs="?", help="print this text's vector as JSON instead of serving")
    parser.add_argument("--port", type=int, default=3000)
    arguments = parser.parse_args()
    if arguments.text is None:
        serve(arguments.port)
    else:
        vectors = _catalog().default.embed([arguments.text]).vectors
        print(orjson.dumps(vectors[0], option=orjson.OPT_SERIALIZE_NUMPY).decode())


def _catalog() -> "Catalog":
    """Return the catalog once its default model has loaded; exit if it cannot: the log says why."""
    from handler.main import catalog

    with suppress(UnavailableError):
        if catalog and catalog.default:
            return catalog
    sys.exit(1)


def serve(port: int) -> None:
    """Serve on loopback, after printing a command to try."""
    # asyncio disables Nagle's algorithm only for a socket that names its protocol: 40 ms per response otherwise
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {HOST}:{port}: {error}; choose another port: make run PORT={port % 65535 + 1}")
    catalog = _catalog()
    from handler.api.app import create_app
    from handler.main import settings

    # Only this machine can call, so a key is required only if one is configured.
    settings = replace(settings, page=True, auth_mode=settings.auth_mode if settings.api_keys else "none")
    app = create_app(settings, catalog, loopback=True)
    default, address = catalog.default, f"http://{HOST}:{listener.getsockname()[1]}"
    body = f'{{"model": "{default.manifest.id}", "input": "{EXAMPLE}"}}'
    print(f"Serving {default.manifest.id}@sha256:{default.digest} on {address}/v1. Try:\n")
    print(f"  curl {address}/v1/embeddings -d '{body}'\n")
    print(f"or open {address}/ in a browser.\n", flush=True)
    config = uvicorn.Config(
        app, http=Connection, ws="none", backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_SECONDS, log_level="warning"
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
