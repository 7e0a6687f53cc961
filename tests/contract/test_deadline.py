"""A model too slow for its request: the caller gets an error in time, and the next request succeeds."""

import json
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mangum import Mangum

from handler.api.app import create_app
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder
from handler.models.catalog import Catalog
from tests import tiny
from tests.clock import replace_clock
from tests.conftest import SETTINGS
from tests.events import content, context, event, headers

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXTS = [f"{first} {second}" for first in LETTERS for second in LETTERS]


class SlowSession:
    """Wraps a real session and adds `seconds_per_token` to the deadline's clock."""

    def __init__(self, session, seconds_per_token: float, monkeypatch) -> None:
        self._session, self._seconds, self._delay = session, seconds_per_token, 0.0
        real = time.monotonic
        modules = "handler.api.limits", "handler.embedding.deadline", "handler.embedding.runs"
        replace_clock(monkeypatch, lambda: real() + self._delay, *modules)

    def run(self, token_ids):
        self._delay += self._seconds * token_ids.size
        return self._session.run(token_ids)


@pytest.fixture
def embedder():
    return tiny.embedder(replace(SETTINGS, workers=1))


def post(embedder: Embedder, texts: list[str]) -> dict[str, Any]:
    app = create_app(SETTINGS, Catalog.of([embedder], SETTINGS))
    request_event = event("http-api-2.0", json.dumps({"model": "tiny", "input": texts}))
    return Mangum(app, lifespan="off")(request_event, context())


def test_request_too_slow_for_the_deadline_is_rejected_with_how_many_inputs_fit(embedder, monkeypatch):
    session = embedder._runs._session
    embedder._runs._session = SlowSession(session, 28 / (4 * len(TEXTS)) * 10, monkeypatch)  # ten times too slow
    response = post(embedder, TEXTS)
    assert response["statusCode"] == 400
    error = content(response)["error"]
    assert (error["param"], error["code"]) == ("input", "request_too_long")
    fitting = int(error["message"].partition("about ")[2].partition(" ")[0])
    assert len(TEXTS) // 20 < fitting < len(TEXTS) // 10
    assert post(embedder, TEXTS[:fitting])["statusCode"] == 200
    embedder._runs._session = session
    vectors = [each["embedding"] for each in content(post(embedder, TEXTS))["data"]]
    np.testing.assert_array_equal(np.array(vectors, np.float32), embedder.embed(TEXTS).vectors)


def test_request_delayed_by_a_slow_load_gets_a_503(embedder, monkeypatch):
    slow = SlowSession(embedder._runs._session, 10 / (4 * len(TEXTS)), monkeypatch)  # ten seconds in total
    embedder._runs._session = slow
    get = Catalog.get

    def load(catalog: Catalog, name: str, deadline: Deadline) -> Embedder:
        slow._delay += 20
        return get(catalog, name, deadline)

    monkeypatch.setattr(Catalog, "get", load)
    response = post(embedder, TEXTS)
    assert response["statusCode"] == 503
    assert int(headers(response)["retry-after"]) >= 1
    assert content(response)["error"]["type"] == "server_error"


def test_load_is_awaited_until_the_invocation_ends(tmp_path, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr("handler.artifacts.resolver.ArtifactResolver.open", lambda *_: released.wait(10))
    settings = replace(SETTINGS, models=("tiny", "other"), artifacts=tmp_path)
    handle = Mangum(create_app(settings, Catalog(settings, lambda _: None)), lifespan="off")
    body = json.dumps({"model": "tiny", "input": "a"})
    requests = [
        (event("http-api-2.0", body), 503),
        (event("http-api-2.0", method="GET", path="/v1/models/unknown"), 503),
        (event("http-api-2.0", method="GET", path="/v1/models"), 200),
    ]
    for request, status in requests:
        started = time.monotonic()
        assert handle(request, context(seconds=1.3))["statusCode"] == status  # a second of it is kept for the response
        assert time.monotonic() - started < 1
    released.set()
