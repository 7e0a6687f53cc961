"""A model that is too slow for what was asked: the caller is told in time, and the next request is right."""

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mangum import Mangum

from handler.api.app import create_app
from handler.embedding.embedder import Embedder
from handler.models.catalog import Catalog
from tests import tiny
from tests.conftest import SETTINGS
from tests.events import content, context, event, headers

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXTS = [f"{first} {second}" for first in LETTERS for second in LETTERS]


class Slow:
    """Stands before a real session, and takes so many seconds for a token more than it."""

    def __init__(self, session, seconds_per_token: float, monkeypatch) -> None:
        self._session, self._seconds, self._late = session, seconds_per_token, 0.0
        real = time.monotonic
        monkeypatch.setattr("handler.embedding.deadline.time.monotonic", lambda: real() + self._late)

    def run(self, token_ids):
        self._late += self._seconds * token_ids.size
        return self._session.run(token_ids)


@pytest.fixture
def embedder():
    return tiny.embedder(replace(SETTINGS, workers=1))


def ask(embedder: Embedder, texts: list[str]) -> dict[str, Any]:
    app = create_app(SETTINGS, Catalog.of([embedder], SETTINGS))
    asked = event("http-api-2.0", json.dumps({"model": "tiny", "input": texts}))
    return Mangum(app, lifespan="off")(asked, context())


def test_hopeless_work_is_refused_with_what_would_fit(embedder, monkeypatch):
    plain = embedder._session
    embedder._session = Slow(plain, 28 / (4 * len(TEXTS)) * 10, monkeypatch)  # ten times too slow
    answer = ask(embedder, TEXTS)
    assert answer["statusCode"] == 400
    error = content(answer)["error"]
    assert (error["param"], error["code"]) == ("input", "request_too_long")
    fitting = int(error["message"].partition("about ")[2].partition(" ")[0])
    assert len(TEXTS) // 20 < fitting < len(TEXTS) // 10
    assert ask(embedder, TEXTS[:fitting])["statusCode"] == 200
    embedder._session = plain
    vectors = [each["embedding"] for each in content(ask(embedder, TEXTS))["data"]]
    np.testing.assert_array_equal(np.array(vectors, np.float32), embedder.embed(TEXTS).vectors)


def test_what_a_slow_load_left_no_time_for_is_put_off(embedder, monkeypatch):
    slow = Slow(embedder._session, 10 / (4 * len(TEXTS)), monkeypatch)  # ten seconds in all

    embedder._session = slow
    get = Catalog.get

    def load(catalog: Catalog, name: str) -> Embedder:
        slow._late += 20
        return get(catalog, name)

    monkeypatch.setattr(Catalog, "get", load)
    answer = ask(embedder, TEXTS)
    assert answer["statusCode"] == 503
    assert int(headers(answer)["retry-after"]) >= 1
    assert content(answer)["error"]["type"] == "server_error"
