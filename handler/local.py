"""The service on this machine: `python -m handler.local` serves; given texts, it prints their vectors."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from handler.errors import RequestError, UnavailableError
from handler.signals import exit_on_signals

if TYPE_CHECKING:
    from handler.models.catalog import Catalog


def main() -> None:
    """Embed texts, or serve until interrupted."""
    exit_on_signals()  # before the imports that take time: they are in functions here
    parser = argparse.ArgumentParser(description="Serve embeddings on this machine, or embed texts.")
    parser.add_argument("text", nargs="?", help="print this text's vector as JSON instead of serving")
    parser.add_argument("--stdin", action="store_true", help="print a vector for each line of standard input")
    parser.add_argument("--host", default="127.0.0.1", help="the address to serve on; a key is required off loopback")
    parser.add_argument("--port", type=_port, default=3000)
    parser.add_argument("--quiet", action="store_true", help="do not log requests on the screen")
    parser.add_argument("--data", type=Path, help="the folder of files and batches, which are not served without one")
    arguments = parser.parse_args()
    if arguments.stdin and sys.stdin.isatty():
        sys.exit("no text: make embed TEXT='...', or pipe texts into make embed, one a line")
    if arguments.stdin:
        embed((f"line {number}", line.rstrip(b"\n")) for number, line in enumerate(sys.stdin.buffer, 1))
    elif arguments.text is not None:
        embed([("TEXT", os.fsencode(arguments.text))])
    else:
        serve(arguments.host, arguments.port, arguments.data, quiet=arguments.quiet)


def _port(value: str) -> int:
    """Parse a port; exit with one line if it is none."""
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > 65535:
        sys.exit(f"PORT is '{value}': choose a number from 1 to 65535, such as make run PORT=3000")
    return int(value)


def _catalog() -> "Catalog":
    """Return the catalog once its default model has loaded; exit if it cannot: the log says why."""
    from handler.main import catalog

    with suppress(UnavailableError):
        if catalog and catalog.default:
            return catalog
    sys.exit(1)


def embed(texts: Iterable[tuple[str, bytes]]) -> None:
    """Print the vector of each text, a line each; exit with the place of the first that cannot be embedded.

    texts  the place of each text, and its UTF-8
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `| head` ends it silently
    embedder = _catalog().default
    import orjson

    from handler.contract.schemas import parse_input

    for place, text in texts:
        try:
            (vector,) = embedder.embed(parse_input(text.decode())).vectors
        except UnicodeDecodeError as error:
            sys.exit(f"{place} is not UTF-8: {error.reason} at byte {error.start + 1}")
        except RequestError as error:
            sys.exit(f"{place} cannot be embedded: {error}")
        print(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY).decode(), flush=True)
    os._exit(0)  # a thread may be loading a session, which Python's own end could crash


def serve(host: str, port: int, data: Path | None, *, quiet: bool) -> None:
    """Serve after printing a command to try."""
    from handler import server

    listener = server.listen(host, port)
    catalog = _catalog()
    from handler.api.app import create_app
    from handler.console import ConsoleLog
    from handler.contract.schemas import EXAMPLE_TEXT
    from handler.main import settings
    from handler.worker import BatchWorker

    loopback = ip_address(listener.getsockname()[0]).is_loopback
    if not loopback and not (settings.api_keys and settings.auth_mode == "api-key"):
        sys.exit(
            f"HOST={host} lets other machines call, so a key is required: create one with make api-key NAME=me, set "
            "API_KEYS to the name:sha256 pair that it prints, and leave AUTH_MODE at api-key"
        )
    # Without a key, only this machine can call.
    settings = replace(settings, page=True, auth_mode=settings.auth_mode if settings.api_keys else "none")
    worker = None
    if data:
        settings = replace(settings, batches=str(data.absolute()))
        worker = BatchWorker(data.absolute(), quiet=quiet)
    app = create_app(settings, catalog, None if quiet else ConsoleLog(), runner=worker, loopback=loopback)
    default, address = catalog.default, server.address(listener)
    key = ' -H "authorization: Bearer $KEY"' if settings.auth_mode == "api-key" else ""
    body = f'{{"model": "{default.manifest.id}", "input": "{EXAMPLE_TEXT}"}}'
    print(f"Serving {default.manifest.id}@sha256:{default.digest} on {address}/v1. Try:\n")
    print(f"  curl {address}/v1/embeddings{key} -d '{body}'\n")
    print(f"or open {address}/ in a browser.")
    if data:
        print(f"Files and batches are in {data.absolute()}; DATA=FOLDER is another place.")
    print(flush=True)
    status = server.run(app, listener)
    if worker:
        worker.stop()
    sys.exit(status)


if __name__ == "__main__":
    main()
