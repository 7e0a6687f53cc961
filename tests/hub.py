"""The part of the Hugging Face Hub's API with which huggingface_hub downloads a model, and the Hub's refusals."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef" * 2 + "01234567"
# What the Hub responds for repositories without files here.
REFUSALS = {"someone/gated": (403, "GatedRepo"), "someone/broken": (500, "")}


@dataclass
class Hub:
    """A Hub with some repositories, each a folder by its name; `downloaded` are the paths of files that were sent."""

    url: str
    repositories: dict[str, Path]
    downloaded: list[str] = field(default_factory=list)

    def environment(self, cache: Path) -> dict[str, str]:
        """Return the variables with which huggingface_hub uses this Hub and a cache of its own."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "*"}


class Handler(BaseHTTPRequestHandler):
    """Responds as the Hub does."""

    server: "Server"
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repository, rest = "/".join(parts[2:4] if api else parts[:2]), parts[4:] if api else parts[2:]
        if repository not in self.server.hub.repositories:
            self.refuse(*REFUSALS.get(repository, (401, "RepoNotFound")))
        elif len(rest) > 1 and rest[1] not in ("main", "v1", COMMIT):
            self.refuse(404, "RevisionNotFound")
        elif api:
            files = sorted(path for path in self.server.hub.repositories[repository].rglob("*") if path.is_file())
            self.describe(repository, rest, files)
        else:
            self.send_file(self.server.hub.repositories[repository], "/".join(rest[2:]))

    def describe(self, repository: str, rest: list[str], files: list[Path]) -> None:
        names = [str(path.relative_to(self.server.hub.repositories[repository])) for path in files]
        siblings = [{"rfilename": name} for name in names]
        tree = [
            {"type": "file", "path": name, "size": path.stat().st_size, "oid": digest(path)}
            for name, path in zip(names, files, strict=True)
        ]
        model = {"id": repository, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
        content = json.dumps(tree if rest[:1] == ["tree"] else model).encode()
        self.respond(200, content, {"Content-Type": "application/json"})

    def send_file(self, folder: Path, name: str) -> None:
        path = folder / name
        if not path.is_file():
            return self.refuse(404, "EntryNotFound")
        if self.command == "GET":
            self.server.hub.downloaded.append(name)
        return self.respond(200, path.read_bytes(), {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(path)}"'})

    def refuse(self, status: int, code: str) -> None:
        self.respond(status, b"{}", {"X-Error-Code": code} if code else {})

    def respond(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """A server of one Hub."""

    hub: Hub


@contextmanager
def serve(repositories: dict[str, Path]) -> Iterator[Hub]:
    """Serve repositories on a free loopback port."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.hub = Hub(f"http://127.0.0.1:{server.server_port}", repositories)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.hub
        finally:
            server.shutdown()
            thread.join()


def digest(path: Path) -> str:
    """Return the name that git gives to the content of a file."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
