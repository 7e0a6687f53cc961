"""An HTTP client for a running deployment. If the deployment cannot be used, it exits with one line that says why."""

import base64
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np

from handler.embedding.pooling import Vectors

TIMEOUT_SECONDS = 60.0  # twice API Gateway's own


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment that has responded.

    base_url       as OpenAI clients take it, without a slash at the end
    key            the API key, or a JWT; None if the deployment asks for none
    models         digests of the served models, by name
    first_seconds  duration of the first request, which met a cold function if no environment was warm
    """

    base_url: str
    key: str | None
    http: httpx2.Client
    models: dict[str, str]
    first_seconds: float

    def embed(self, model: str, texts: Sequence[str], **fields: Any) -> httpx2.Response:
        """Request the embeddings of texts, as base64 unless `encoding_format` is among the fields."""
        body = {"model": model, "input": texts, "encoding_format": "base64", **fields}
        return self.post(headers=authorization(self.key), json=body)

    def post(self, **arguments: Any) -> httpx2.Response:
        """Send a request to the embeddings endpoint, with nothing but the given arguments of httpx2."""
        return self.http.post(f"{self.base_url}/embeddings", **arguments)


@contextmanager
def connect(url: str, key: str | None, timeout: float = TIMEOUT_SECONDS) -> Iterator[Deployment]:
    """Connect to the deployment at a base URL, and list its models.

    Raises:
        SystemExit: there is no such deployment, or it refuses the key; the message is one line.
    """
    base_url = url.rstrip("/")
    with httpx2.Client(timeout=timeout) as http:
        started = time.perf_counter()
        try:
            response = http.get(f"{base_url}/models", headers=authorization(key))
        except (httpx2.TransportError, httpx2.InvalidURL, UnicodeError) as error:
            sys.exit(f"{url} cannot be reached: {explain(error)}")
        seconds = time.perf_counter() - started
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            sys.exit(f"{url} {'refuses this key' if key else 'requires a key'} (401): pass a deployed one, KEY=sk-...")
        yield Deployment(base_url, key, http, _digests(response), seconds)


def authorization(key: str | None) -> dict[str, str]:
    """Return the headers that carry a key."""
    return {"authorization": f"Bearer {key}"} if key else {}


def explain(error: Exception) -> str:
    """Return one line about an error of httpx2, which has no message for some."""
    return str(error) or type(error).__name__


def vectors(response: httpx2.Response) -> Vectors:
    """Return the vectors of a base64 response, float32 (inputs, dimensions)."""
    rows = [base64.b64decode(row["embedding"]) for row in response.json()["data"]]
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)


def _digests(response: httpx2.Response) -> dict[str, str]:
    """Return the digests in a list of models, by name."""
    with suppress(ValueError, TypeError, KeyError):
        if digests := {model["id"]: model["digest"] for model in response.json()["data"]}:
            return digests
    sys.exit(f"GET {response.url} ({response.status_code}) lists no models: URL has to be the output BaseUrl")
