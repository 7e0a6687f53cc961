"""An issuer of JWTs on loopback: publishes its key, and signs tokens."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm


@dataclass(frozen=True)
class Issuer:
    """An issuer: its URL, and its private key."""

    url: str
    key: rsa.RSAPrivateKey

    def token(self, audience: str) -> str:
        """Return a token for an audience, valid for an hour."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": audience, "sub": "alice", "iat": now, "nbf": now, "exp": now + 3600}
        return str(jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "1"}))

    def documents(self) -> dict[str, Any]:
        """Return what it publishes, by path."""
        key = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True) | {"kid": "1", "alg": "RS256", "use": "sig"}
        configuration = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return {"/.well-known/openid-configuration": configuration, "/keys": {"keys": [key]}}


@contextmanager
def run() -> Iterator[Issuer]:
    """Run an issuer on a free port."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield server.issuer
        finally:
            server.shutdown()


class Server(ThreadingHTTPServer):
    """Serves an issuer's documents on a free port of loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Documents)
        self.issuer = Issuer(f"http://127.0.0.1:{self.server_port}", rsa.generate_private_key(65537, 2048))
        self.documents = self.issuer.documents()


class Documents(BaseHTTPRequestHandler):
    """Responds with one of the server's documents."""

    server: Server

    def do_GET(self) -> None:
        body = json.dumps(self.server.documents.get(self.path)).encode()
        self.send_response_only(200 if self.path in self.server.documents else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
