"""Models from a real S3 server over HTTP, and what becomes of every fault between it and the function."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from handler.api.app import create_app
from handler.artifacts.manifest import MODEL_FILE, Reference
from handler.artifacts.resolver import load
from handler.errors import ArtifactError, ServiceError
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import s3 as servers
from tests import tiny
from tests.conftest import serve
from tests.s3 import BUCKET, S3, Relay

Load = Callable[..., Any]
UNPINNED = f"s3://{BUCKET}/models/tiny"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with servers.serve() as server:
        yield server


@pytest.fixture(scope="module")
def pinned(s3, tmp_path_factory) -> str:
    return str(s3.publish(tmp_path_factory.mktemp("models"), tiny.artifacts()))


@pytest.fixture
def relay(s3, monkeypatch, tmp_path) -> Iterator[Relay]:
    """Lead the store through the relay, in dozens of parts, with little patience, and watch /tmp."""
    monkeypatch.setattr("handler.artifacts.s3.PART_BYTES", 2_048)
    monkeypatch.setattr("handler.artifacts.s3.READ_SECONDS", 0.5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with servers.relay(s3) as made:
        for name, value in s3.environment(made.url).items():
            monkeypatch.setenv(name, value)
        yield made
    assert not list(tmp_path.iterdir())  # nothing is written, so nothing is left


@pytest.fixture
def image(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("image")
    return folder


def load_tiny(image: Path, reference: str = UNPINNED) -> Any:
    return load(reference, Settings(artifacts=image))


def test_what_is_loaded_is_what_was_published(relay, pinned, image):
    for reference in (pinned, UNPINNED):
        loaded = load_tiny(image, reference)
        assert (loaded.model, loaded.tokenizer) == (tiny.artifacts().model, tiny.artifacts().tokenizer)
        assert loaded.digest == Reference.parse(pinned).digest
    assert sum("blobs" in each for each in relay.requests) > 40  # in parts


def test_a_file_that_the_image_has_is_not_downloaded(relay, pinned, image, s3):
    s3.publish(image, tiny.artifacts(), aliases=("of the image",))  # another manifest, the same files
    assert load_tiny(image, pinned).model == tiny.artifacts().model
    assert [each.rpartition("/")[2] for each in relay.requests] == [f"{Reference.parse(pinned).digest}.json"]


def test_a_pinned_model_of_the_image_needs_no_network(relay, image, s3):
    own = s3.publish(image, tiny.artifacts(), id="other")
    relay.requests.clear()
    assert load_tiny(image, str(own)).model == tiny.artifacts().model
    assert relay.requests == []


def test_the_loader_gets_by_with_the_rights_of_the_template(relay, pinned, image):
    """Everything but GetObject under models/ is refused, as by the role in template.yaml."""
    relay.where = ""
    relay.fault = lambda exchange: (
        exchange.answer(exchange.status, exchange.content)
        if exchange.command == "GET" and exchange.path.startswith(f"/{BUCKET}/models/") and "?" not in exchange.path
        else servers.error(403, "AccessDenied")(exchange)
    )
    assert load_tiny(image).model == tiny.artifacts().model
    assert load_tiny(image, pinned).model == tiny.artifacts().model


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (servers.reset, 2),
        (servers.truncate, 2),
        (servers.stall, 1),
        (servers.error(500, "InternalError"), 2),
        (servers.error(503, "SlowDown"), 2),
    ],
    ids=["reset", "truncated", "stalled", "500", "503"],
)
def test_a_fault_that_passes_is_not_noticed(relay, pinned, image, fault, times):
    relay.fault, relay.times = fault, times
    assert load_tiny(image, pinned).model == tiny.artifacts().model


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (servers.reset, "S3 cannot be read"),
        (servers.truncate, "S3 cannot be read"),
        (servers.stall, "S3 cannot be read"),
        (servers.error(500, "InternalError"), "S3 responds InternalError; wait for S3"),
        (servers.error(503, "SlowDown"), "S3 responds SlowDown; wait for S3"),
        (servers.flip, "is damaged; delete it from the bucket, and publish the model again"),
        (servers.error(403, "AccessDenied"), "refuses access .AccessDenied.; allow the function's role to read it"),
        (servers.error(404, "NoSuchKey"), "the object does not exist; publish the model with make publish"),
        (servers.error(400, "AuthorizationHeaderMalformed", Region="eu-west-1"), "the bucket is in another region"),
        (servers.error(301, "PermanentRedirect"), "the bucket is in another region"),
    ],
    ids=["reset", "truncated", "stalled", "500", "503", "flipped", "denied", "missing", "region", "redirect"],
)
def test_a_fault_that_stays_is_one_line_with_reference_cause_and_remedy(relay, pinned, image, fault, message):
    relay.fault = fault
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=message) as failed:
        load_tiny(image, pinned)
    assert time.monotonic() - started < 20
    assert failed.value.message.startswith(f"model '{pinned}': ")
    assert "\n" not in failed.value.message


def test_a_bucket_that_is_not_there_and_a_server_that_is_not(relay, image, monkeypatch):
    with pytest.raises(ArtifactError, match="the bucket does not exist; correct MODELS"):
        load_tiny(image, "s3://no-such-bucket/models/tiny")
    with pytest.raises(ArtifactError, match="the object does not exist; publish the model"):
        load_tiny(image, f"s3://{BUCKET}/models/never")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ArtifactError, match=r"S3 cannot be read .EndpointConnectionError.; check the network"):
        load_tiny(image)
    assert relay.requests


@pytest.mark.usefixtures("relay")
def test_without_credentials_the_error_says_so(image, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ArtifactError, match="there are no AWS credentials; give the function a role"):
        load_tiny(image)


def replaced(content: bytes) -> Callable[[Any], None]:
    return lambda exchange: exchange.answer(200, content)


def test_a_manifest_that_is_not_the_pinned_one_or_of_a_newer_schema_is_refused(relay, pinned, image):
    relay.where, relay.fault = "manifest", replaced(b'{"schema": 2}')
    with pytest.raises(ArtifactError, match=r"its manifest has the SHA-256 .*, not the pinned one"):
        load_tiny(image, pinned)
    with pytest.raises(ArtifactError, match="its schema is 2 and this version reads 1"):
        load_tiny(image)


@pytest.mark.usefixtures("pinned", "relay")
def test_a_manifest_under_another_models_name_is_refused(image, s3):
    content = s3.client.get_object(Bucket=BUCKET, Key="models/tiny/manifest.json")["Body"].read()
    s3.client.put_object(Bucket=BUCKET, Key="models/impostor/manifest.json", Body=content)
    with pytest.raises(ArtifactError, match="its manifest is that of 'tiny'"):
        load_tiny(image, f"s3://{BUCKET}/models/impostor")


class ServedModel:
    """The app over models of the bucket, and what was reported."""

    def __init__(self, http: httpx2.Client, reports: list[ServiceError]) -> None:
        self.http, self.reports = http, reports

    def ask(self, model: str = "tiny") -> httpx2.Response:
        return self.http.post("/v1/embeddings", json={"model": model, "input": "the food", "encoding_format": "float"})


@pytest.fixture
def served(relay, image, monkeypatch) -> Iterator[Callable[..., Any]]:
    assert relay.url
    monkeypatch.setattr("handler.models.catalog.LOAD_TIMEOUT_SECONDS", 2)
    with ExitStack() as opened:

        def start(*models: str, **more: Any) -> ServedModel:
            settings = Settings(models=models, artifacts=image, auth_mode="none", token_input="native", **more)
            reports: list[ServiceError] = []
            url = opened.enter_context(serve(create_app(settings, Catalog(settings, reports.append))))
            return ServedModel(opened.enter_context(httpx2.Client(base_url=url, timeout=20)), reports)

        yield start


def test_vectors_and_digest_are_the_published_models(served, pinned):
    answer = served(pinned).ask()
    vector = np.array(answer.json()["data"][0]["embedding"], np.float32)
    np.testing.assert_array_equal(vector, tiny.embedder().embed(["the food"]).vectors[0])
    assert answer.headers["x-model-digest"] == f"sha256:{Reference.parse(pinned).digest}"


def test_the_first_answer_says_what_loading_took(served, pinned):
    service = served(pinned)
    stages = [each.partition(";")[0] for each in service.ask().headers["server-timing"].split(", ")]
    assert stages == ["artifacts", "session", "first-run", "tokenize", "infer", "encode"]
    assert "artifacts" not in service.ask().headers["server-timing"]


@pytest.mark.usefixtures("pinned")  # published, or S3 has nothing to answer with when it is back
def test_while_s3_is_away_the_answer_is_503_and_then_it_is_200(served, relay):
    relay.where, relay.fault = "", servers.error(403, "AccessDenied")
    service = served(UNPINNED)
    first, second = service.ask(), service.ask()
    for answer in (first, second):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    asked = len(relay.requests)
    assert service.ask().status_code == 503
    assert len(relay.requests) == asked  # nobody asks S3 before the pause is over
    assert len(service.reports) == 1
    relay.fault = None
    deadline = time.monotonic() + 20
    while (answer := service.ask()).status_code == 503:
        assert time.monotonic() < deadline
        threading.Event().wait(0.1)
    assert answer.status_code == 200


def test_a_drip_is_given_up_in_time(served, relay, pinned):
    relay.fault = servers.drip
    service = served(pinned)
    started = time.monotonic()
    answer = service.ask()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert time.monotonic() - started < 10


def test_a_second_model_is_loaded_when_it_is_asked_for(served, relay, pinned, s3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    other = str(s3.publish(folder, tiny.artifacts(), id="other", aliases=("another",)))
    service = served(pinned, other)
    assert service.ask().status_code == 200
    assert not any("other" in each and "blobs" in each for each in relay.requests)
    listed = {each["id"]: each for each in service.http.get("/v1/models").json()["data"]}
    assert {"tiny", "someone/tiny", "other", "another", "text-embedding-ada-002"} <= set(listed)
    assert listed["another"]["root"] == "other"
    assert listed["other"]["digest"] == f"sha256:{Reference.parse(other).digest}"
    assert (listed["other"]["dimensions"], listed["other"]["max_tokens"]) == (32, tiny.MAX_TOKENS)
    answer = service.ask("another")
    assert answer.headers["x-model-digest"] == listed["other"]["digest"]
    assert answer.headers["server-timing"].startswith("artifacts;")
    assert service.ask("nobody").status_code == 404


def test_a_broken_second_model_leaves_the_first_alone(served, relay, pinned):
    service = served(pinned, f"s3://{BUCKET}/models/never")
    assert service.ask().status_code == 200
    assert service.ask("never").status_code == 503
    assert service.ask("nobody").status_code == 503  # it might be a name of the model that is not there
    assert "never" in service.reports[0].message
    assert relay.requests


def test_where_memory_is_short_the_model_that_was_used_longest_ago_makes_room(served, pinned, s3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    others = [str(s3.publish(folder, tiny.artifacts(), id=name, aliases=())) for name in ("b", "c")]
    size = tiny.artifacts().manifest.files[MODEL_FILE].size
    service = served(pinned, *others, model_memory=2 * size)
    loads = ["artifacts" in service.ask(name).headers["server-timing"] for name in ("tiny", "b", "b", "c", "b", "tiny")]
    assert loads == [True, True, False, True, True, False]
    assert service.reports == []


def test_where_memory_is_too_short_the_answer_is_503(served, pinned, s3, tmp_path_factory):
    other = str(s3.publish(tmp_path_factory.mktemp("other"), tiny.artifacts(), id="d", aliases=()))
    size = tiny.artifacts().manifest.files[MODEL_FILE].size
    service = served(pinned, other, model_memory=2 * size - 1)
    assert [service.ask(name).status_code for name in ("tiny", "d")] == [200, 503]
    assert "raise the function's memory" in service.reports[0].message
