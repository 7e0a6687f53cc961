"""The checks of a running deployment. Each returns a detail for the report, or raises why it failed or was skipped."""

import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import httpx2
import numpy as np

from handler.api.limits import MAX_BODY_BYTES, MAX_HEADERS_BYTES, MAX_RESPONSE_BYTES
from handler.artifacts.resolver import load
from handler.contract.schemas import MAX_INPUTS
from handler.embedding.embedder import Embedder
from handler.embedding.pooling import Vectors
from handler.settings import Settings
from model_artifacts.recipe.golden import Golden
from tests.deploy.client import Deployment, authorization, vectors

SETTINGS = Settings()
SHORT = "The food was delicious and the waiter..."
BATCH = [f"text number {index}" for index in range(MAX_INPUTS)]
LONG = " ".join(BATCH[:200])
WRONG_KEY = "sk-this-is-none-of-the-configured-keys"
WARM_REQUESTS = 100
# docs/operations.md: the lowest that was measured on an emulated arm64 processor is 0.9992.
MIN_COSINE = 0.998
# In a float response, a component with its comma has at least this many bytes on average (12.24 were measured).
MIN_FLOAT_BYTES = 12
UNKNOWN_ORIGIN = "https://example.org"


class CheckFailed(Exception):  # noqa: N818 - the result of a check, not an error of this program
    """The deployment does not behave as expected."""


class CheckSkipped(Exception):  # noqa: N818 - as above
    """The check does not apply to this deployment."""


@dataclass(frozen=True)
class Subject:
    """A deployment, and what is expected of it.

    digest  of the model that must be served, with `sha256:`
    exact   whether vectors must have the same bits as on this machine
    origin  an origin that must be allowed to call
    """

    deployment: Deployment
    digest: str
    exact: bool
    origin: str | None

    @cached_property
    def model(self) -> str:
        """The name of the expected model, or of the first one if the expected one is not served."""
        models = self.deployment.models
        return next((name for name, digest in models.items() if digest == self.digest), next(iter(models)))

    def embed(self, texts: Sequence[str], **fields: Any) -> httpx2.Response:
        """Request the embeddings of texts, as base64 unless `encoding_format` says otherwise."""
        return self.deployment.embed(self.model, texts, **fields)

    def compare(self, response: httpx2.Response, texts: Sequence[str]) -> str:
        """Compare the vectors in a response with those that the bundled model has on this machine."""
        expect(response, httpx2.codes.OK)
        if self.digest != f"sha256:{bundled().digest}":
            raise CheckSkipped("DIGEST is not the bundled model's, and no other can be computed here")
        served, expected = vectors(response), expected_vectors(tuple(texts))
        if served.shape != expected.shape:
            raise CheckFailed(f"{served.shape} components instead of {expected.shape}")
        different = int((served.view(np.uint32) != expected.view(np.uint32)).any(axis=1).sum())
        lowest = float((served * expected).sum(axis=1).min())
        if different and (self.exact or not lowest >= MIN_COSINE):
            hint = "; on arm64, set ARM64=1" if self.exact and lowest >= MIN_COSINE else ""
            raise CheckFailed(f"{different} of {len(texts)} vectors differ, lowest cosine {lowest:.4f}{hint}")
        return f"{len(texts)} vectors, " + ("bit for bit" if self.exact else f"lowest cosine {lowest:.4f}")


@cache
def bundled() -> Embedder:
    """Return the bundled model."""
    return Embedder(load(SETTINGS.models[0], SETTINGS), SETTINGS)


@cache
def expected_vectors(texts: tuple[str, ...]) -> Vectors:
    """Return the vectors that the bundled model has on this machine, float32 (texts, dimensions)."""
    return bundled().embed(texts).vectors


def expect(response: httpx2.Response, status: int, code: str | None = None) -> str:
    """Check a response's status and, where the body is the service's own envelope, its error code; describe both."""
    seen = f"{response.status_code} {error_code(response) or ''}".strip()
    if response.status_code != status or (code and error_code(response) not in {code, None}):
        raise CheckFailed(f"{seen} instead of {status} {code or ''}".strip())
    return seen


def error_code(response: httpx2.Response) -> str | None:
    """Return the `code` of an error; None for API Gateway's own body, and with ErrorFormat=plain."""
    try:
        return str(response.json()["error"]["code"])
    except (ValueError, TypeError, KeyError):
        return None


def check_health(subject: Subject) -> str:
    root = subject.deployment.base_url.removesuffix("/v1")
    return expect(subject.deployment.http.get(f"{root}/health"), httpx2.codes.OK)


def check_no_key(subject: Subject) -> str:
    return _refusal(subject, {})


def check_wrong_key(subject: Subject) -> str:
    return _refusal(subject, authorization(WRONG_KEY))


def _refusal(subject: Subject, headers: dict[str, str]) -> str:
    if not subject.deployment.key:
        raise CheckSkipped("without KEY, the deployment is open")
    body = {"model": subject.model, "input": SHORT}
    return expect(subject.deployment.post(json=body, headers=headers), httpx2.codes.UNAUTHORIZED, "invalid_api_key")


def check_digest(subject: Subject) -> str:
    response = subject.embed([SHORT])
    expect(response, httpx2.codes.OK)
    served = response.headers.get("x-model-digest")
    if served != subject.digest:
        raise CheckFailed(f"{subject.model} is {served} instead of {subject.digest}")
    return f"{subject.model}, {served}"


def check_golden(subject: Subject) -> str:
    texts = Golden.read(SETTINGS.artifacts / SETTINGS.models[0] / "golden.json").texts
    return subject.compare(subject.embed(texts), texts)


def check_batch(subject: Subject) -> str:
    started = time.perf_counter()
    response = subject.embed(BATCH)
    seconds = time.perf_counter() - started
    return f"{subject.compare(response, BATCH)}, {len(response.content):,} bytes in {seconds:.1f} s"


def check_long_text(subject: Subject) -> str:
    response = subject.embed([LONG])
    if error_code(response) == "context_length_exceeded":
        raise CheckSkipped("LongInput is error: long texts are refused")
    expect(response, httpx2.codes.OK)
    policy = response.headers.get("x-long-inputs")
    if policy == "truncate; count=1":
        raise CheckSkipped("LongInput is truncate")
    if policy != "window; count=1":
        raise CheckFailed(f"x-long-inputs is {policy}")
    return f"{subject.compare(response, [LONG])}, in windows"


def check_error_envelope(subject: Subject) -> str:
    response = subject.embed(["a text", ""])
    seen = expect(response, httpx2.codes.BAD_REQUEST, "empty_input")
    error = response.json()["error"]
    if isinstance(error, str):
        return f"{seen}, plain: {error}"
    if set(error) != {"message", "type", "param", "code"} or error["param"] != "input.1":
        raise CheckFailed(f"not OpenAI's envelope, or not of input.1: {error}")
    return f"{seen}, {error['param']}"


def check_request_ids(subject: Subject) -> str:
    first, second = (subject.embed([SHORT]).headers.get("x-request-id") for _ in range(2))
    if not first or not second or first == second:
        raise CheckFailed(f"x-request-id is {first}, then {second}")
    return f"such as {second}"


def check_body_limit(subject: Subject) -> str:
    body, headers = b"x" * (MAX_BODY_BYTES + 1), authorization(subject.deployment.key)
    return expect(subject.deployment.post(content=body, headers=headers), 413, "request_too_large")


def check_headers_limit(subject: Subject) -> str:
    headers = authorization(subject.deployment.key) | {"x-padding": "x" * MAX_HEADERS_BYTES}
    return expect(subject.deployment.post(json={}, headers=headers), 431, "headers_too_large")


def check_response_limit(subject: Subject) -> str:
    dimensions = vectors(subject.embed([SHORT])).shape[1]
    if MAX_INPUTS * dimensions * MIN_FLOAT_BYTES < MAX_RESPONSE_BYTES:
        raise CheckSkipped(f"{MAX_INPUTS} vectors of {dimensions} dimensions fit into a response")
    headers = authorization(subject.deployment.key) | {"accept-encoding": "identity"}
    body = {"model": subject.model, "input": BATCH, "encoding_format": "float"}
    return expect(subject.deployment.post(json=body, headers=headers), httpx2.codes.BAD_REQUEST, "response_too_large")


def check_gzip(subject: Subject) -> str:
    headers = authorization(subject.deployment.key) | {"accept-encoding": "gzip", "content-encoding": "gzip"}
    body = {"model": subject.model, "input": BATCH[:500], "encoding_format": "float"}
    response = subject.deployment.post(content=gzip.compress(json.dumps(body).encode()), headers=headers)
    expect(response, httpx2.codes.OK)
    if response.headers.get("content-encoding") != "gzip":
        raise CheckFailed("the response is not compressed")
    served = np.array([row["embedding"] for row in response.json()["data"]], np.float32)
    if not np.array_equal(served, vectors(subject.embed(BATCH[:500]))):
        raise CheckFailed("the vectors differ from those of a plain request")
    return f"500 vectors as floats, {response.num_bytes_downloaded:,} of {len(response.content):,} bytes"


def check_cors(subject: Subject) -> str:
    origin = subject.origin or UNKNOWN_ORIGIN
    preflight = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    response = subject.deployment.http.options(f"{subject.deployment.base_url}/embeddings", headers=preflight)
    allowed = response.headers.get("access-control-allow-origin") in {origin, "*"}
    if subject.origin and not allowed:
        raise CheckFailed(f"{origin} may not call: the preflight gets {response.status_code}")
    return f"{origin} {'may' if allowed else 'may not'} call ({response.status_code})"


def check_latency(subject: Subject) -> str:
    milliseconds = []
    for number in range(WARM_REQUESTS):
        started = time.perf_counter()
        expect(subject.embed([f"{SHORT} {number}"]), httpx2.codes.OK)  # an equal text would be cached
        milliseconds.append((time.perf_counter() - started) * 1000)
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms of {WARM_REQUESTS} requests with one text"


def check_first_request(subject: Subject) -> str:
    load, _, _ = subject.embed([SHORT]).headers.get("server-timing", "").partition("tokenize")
    state = f"of a new environment: {load.rstrip(', ')}" if load else "of an environment that was warm"
    return f"{subject.deployment.first_seconds * 1000:.0f} ms, {state}"


CHECKS: dict[str, Callable[[Subject], str]] = {
    "first request": check_first_request,  # first, because only one response reports the load of the model
    "health": check_health,
    "no key": check_no_key,
    "wrong key": check_wrong_key,
    "model digest": check_digest,
    "golden vectors": check_golden,
    "long text": check_long_text,
    "error envelope": check_error_envelope,
    "request IDs": check_request_ids,
    "body over 4 MiB": check_body_limit,
    "headers over 16 KiB": check_headers_limit,
    "response over 6 MB": check_response_limit,
    "gzip": check_gzip,
    f"{MAX_INPUTS} texts as base64": check_batch,
    "CORS": check_cors,
    "warm latency": check_latency,
}
