"""Models from a real S3 server over HTTP, with faults injected between the server and the function."""

import json
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
from handler.artifacts.manifest import MANIFEST_FILE, Reference
from handler.artifacts.resolver import load
from handler.errors import ArtifactError, ServiceError
from handler.models import memory
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import s3 as s3_server
from tests import tiny
from tests.conftest import serve
from tests.s3 import BUCKET, S3, Relay

pytestmark = pytest.mark.emulated

Load = Callable[..., Any]
UNPINNED = f"s3://{BUCKET}/models/tiny"
TWO = memory.serving(tiny.artifacts().manifest) + memory.loading(
    tiny.artifacts().manifest
)  # bytes while the second loads


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server.serve() as server:
        yield server


@pytest.fixture(scope="module")
def pinned(s3, tmp_path_factory) -> str:
    return str(s3.publish(tmp_path_factory.mktemp("models"), tiny.artifacts()))


@pytest.fixture
def relay(s3, monkeypatch, tmp_path) -> Iterator[Relay]:
    """Route the store through the relay, with small parts and short timeouts; check that /tmp stays empty."""
    monkeypatch.setattr("handler.artifacts.s3.PART_BYTES", 2_048)
    monkeypatch.setattr("handler.artifacts.s3.READ_SECONDS", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with s3_server.relay(s3) as running:
        for name, value in s3.environment(running.url).items():
            monkeypatch.setenv(name, value)
        yield running
    assert not list(tmp_path.iterdir())  # nothing was written


@pytest.fixture
def image(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("image")
    return folder


def load_tiny(image: Path, reference: str = UNPINNED) -> Any:
    return load(reference, Settings(artifacts=image))


def test_load_returns_the_published_model(relay, pinned, image):
    for reference in (pinned, UNPINNED):
        loaded = load_tiny(image, reference)
        assert (loaded.model, loaded.tokenizer) == (tiny.artifacts().model, tiny.artifacts().tokenizer)
        assert loaded.digest == Reference.parse(pinned).digest
    assert sum("blobs" in each for each in relay.requests) > 40  # it was downloaded in parts


def test_file_in_the_image_is_not_downloaded(relay, pinned, image, s3):
    s3.publish(image, tiny.artifacts(), aliases=("of-the-image",))  # another manifest of the same files
    assert load_tiny(image, pinned).model[:] == tiny.artifacts().model[:]
    assert [each.rpartition("/")[2] for each in relay.requests] == [f"{Reference.parse(pinned).digest}.json"]


@pytest.mark.usefixtures("relay")
def test_damaged_manifest_in_the_image_affects_no_other_model(pinned, tmp_path_factory):
    image = tmp_path_factory.mktemp("damaged")
    (image / "other").mkdir()
    (image / "other" / MANIFEST_FILE).write_text("{")
    assert load_tiny(image, pinned).model[:] == tiny.artifacts().model[:]


def test_pinned_model_in_the_image_needs_no_network(relay, image, s3):
    own = s3.publish(image, tiny.artifacts(), id="other")
    relay.requests.clear()
    assert load_tiny(image, str(own)).model[:] == tiny.artifacts().model[:]
    assert relay.requests == []


def test_loading_needs_only_the_permissions_of_the_template(relay, pinned, image):
    """The relay denies everything except GetObject under models/, like the role in template.yaml."""
    relay.where = ""
    relay.fault = lambda exchange: (
        exchange.respond(exchange.status, exchange.content)
        if exchange.command == "GET" and exchange.path.startswith(f"/{BUCKET}/models/") and "?" not in exchange.path
        else s3_server.error(403, "AccessDenied")(exchange)
    )
    assert load_tiny(image).model[:] == tiny.artifacts().model[:]
    assert load_tiny(image, pinned).model[:] == tiny.artifacts().model[:]


@s3_server.with_transient_faults
def test_transient_fault_is_retried(relay, pinned, image, fault, times):
    relay.fault, relay.times = fault, times
    assert load_tiny(image, pinned).model[:] == tiny.artifacts().model[:]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (s3_server.reset, "S3 cannot be read"),
        (s3_server.truncate, "S3 cannot be read"),
        (s3_server.stall, "S3 cannot be read"),
        (s3_server.error(500, "InternalError"), "S3 responds InternalError; wait for S3"),
        (s3_server.error(503, "SlowDown"), "S3 responds SlowDown; wait for S3"),
        (s3_server.flip, "is damaged; delete it from the bucket, and publish the model again"),
        (s3_server.error(403, "AccessDenied"), "refuses access .AccessDenied.; allow the function's role to read it"),
        (s3_server.error(404, "NoSuchKey"), "the object does not exist; publish the model with make publish"),
        (s3_server.error(400, "AuthorizationHeaderMalformed", Region="eu-west-1"), "the bucket is in another region"),
        (s3_server.error(301, "PermanentRedirect"), "the bucket is in another region"),
        (s3_server.error(416, "InvalidRange"), "it is shorter than its manifest says; delete it from the bucket"),
    ],
    ids=["reset", "truncated", "stalled", "500", "503", "flipped", "denied", "missing", "region", "redirect", "short"],
)
def test_permanent_fault_raises_one_line_with_reference_cause_and_remedy(relay, pinned, image, fault, message):
    relay.fault = fault
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=message) as raised:
        load_tiny(image, pinned)
    assert time.monotonic() - started < 20
    assert raised.value.message.startswith(f"model '{pinned}': ")
    assert "\n" not in raised.value.message


def test_missing_bucket_object_or_server_error_names_the_remedy(relay, image, monkeypatch):
    with pytest.raises(ArtifactError, match="the bucket does not exist; correct MODELS"):
        load_tiny(image, "s3://no-such-bucket/models/tiny")
    with pytest.raises(ArtifactError, match="the object does not exist; publish the model"):
        load_tiny(image, f"s3://{BUCKET}/models/never")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ArtifactError, match=r"S3 cannot be read .EndpointConnectionError.; check the network"):
        load_tiny(image)
    assert relay.requests


@pytest.mark.usefixtures("relay")
def test_missing_credentials_error_names_the_remedy(image, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ArtifactError, match="there are no AWS credentials; give the function a role"):
        load_tiny(image)


def respond_with(content: bytes) -> Callable[[Any], None]:
    return lambda exchange: exchange.respond(200, content)


def test_manifest_with_another_digest_or_a_newer_schema_is_rejected(relay, pinned, image):
    relay.where, relay.fault = "manifest", respond_with(b'{"schema": 2}')
    with pytest.raises(ArtifactError, match=r"its manifest has the SHA-256 .*, not the pinned one"):
        load_tiny(image, pinned)
    with pytest.raises(ArtifactError, match="its schema is 2 and this version reads 1"):
        load_tiny(image)


@pytest.mark.usefixtures("pinned", "relay")
def test_manifest_of_another_model_is_rejected(image, s3):
    content = s3.client.get_object(Bucket=BUCKET, Key="models/tiny/manifest.json")["Body"].read()
    s3.client.put_object(Bucket=BUCKET, Key="models/impostor/manifest.json", Body=content)
    with pytest.raises(ArtifactError, match="its manifest describes 'tiny'"):
        load_tiny(image, f"s3://{BUCKET}/models/impostor")


def test_manifest_or_file_of_the_wrong_size_is_refused_before_it_is_read(relay, pinned, image, s3):
    s3.client.put_object(Bucket=BUCKET, Key="models/huge/manifest.json", Body=b" " * (1 << 21))
    with pytest.raises(ArtifactError, match="2,097,152 bytes, and a manifest has at most 1,048,576; delete it"):
        load_tiny(image, f"s3://{BUCKET}/models/huge")
    tokenizer = tiny.artifacts().manifest.files["tokenizer.json"]
    key = f"models/blobs/sha256/{tokenizer.sha256}"
    for content in (tiny.artifacts().tokenizer + b" ", tiny.artifacts().tokenizer[:-1]):
        s3.client.put_object(Bucket=BUCKET, Key=key, Body=content)
        relay.requests.clear()
        with pytest.raises(ArtifactError, match=rf"{len(content):,} bytes, and its manifest says {tokenizer.size:,}; "):
            load_tiny(image, pinned)
        assert sum(each.endswith(tokenizer.sha256) for each in relay.requests) <= 4  # the parts that had begun
    s3.client.put_object(Bucket=BUCKET, Key=key, Body=tiny.artifacts().tokenizer)


class Service:
    """A client of an app that serves models from the bucket, and the errors that the app reported."""

    def __init__(self, http: httpx2.Client, reports: list[ServiceError]) -> None:
        self.http, self.reports = http, reports

    def embed(self, model: str = "tiny") -> httpx2.Response:
        return self.http.post("/v1/embeddings", json={"model": model, "input": "the food", "encoding_format": "float"})


@pytest.fixture
def start_service(relay, image) -> Iterator[Callable[..., Any]]:
    assert relay.url
    with ExitStack() as stack:

        def start(*models: str, **more: Any) -> Service:
            settings = Settings(models=models, artifacts=image, auth_mode="none", token_input="native", **more)
            reports: list[ServiceError] = []
            url = stack.enter_context(serve(create_app(settings, Catalog(settings, reports.append))))
            return Service(stack.enter_context(httpx2.Client(base_url=url, timeout=20)), reports)

        yield start


def test_vectors_and_digest_match_the_published_model(start_service, pinned):
    response = start_service(pinned).embed()
    vector = np.array(response.json()["data"][0]["embedding"], np.float32)
    np.testing.assert_array_equal(vector, tiny.embedder().embed(["the food"]).vectors[0])
    assert response.headers["x-model-digest"] == f"sha256:{Reference.parse(pinned).digest}"


def test_first_response_reports_the_load_timings(start_service, pinned):
    service = start_service(pinned)
    stages = [each.partition(";")[0] for each in service.embed().headers["server-timing"].split(", ")]
    assert stages == ["artifacts", "session", "first-run", "tokenize", "infer", "encode"]
    assert "artifacts" not in service.embed().headers["server-timing"]


@pytest.mark.usefixtures("pinned")  # it must be published for the load to succeed after the fault
def test_requests_get_503_while_s3_fails_and_200_afterwards(start_service, relay):
    relay.where, relay.fault = "", s3_server.error(403, "AccessDenied")
    service = start_service(UNPINNED)
    first, second = service.embed(), service.embed()
    for response in (first, second):
        assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
        assert 1 <= int(response.headers["retry-after"]) <= 60
    request_count = len(relay.requests)
    assert service.embed().status_code == 503
    assert len(relay.requests) == request_count  # S3 gets no request before the backoff ends
    assert len(service.reports) == 1
    relay.fault = None
    deadline = time.monotonic() + 20
    while (response := service.embed()).status_code == 503:
        assert time.monotonic() < deadline
        threading.Event().wait(0.1)
    assert response.status_code == 200


def test_slow_download_times_out(start_service, relay, pinned, monkeypatch):
    monkeypatch.setattr("handler.models.catalog.LOAD_TIMEOUT_SECONDS", 2)
    relay.fault = s3_server.drip
    service = start_service(pinned)
    started = time.monotonic()
    response = service.embed()
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert time.monotonic() - started < 10


def test_second_model_is_loaded_when_first_requested(start_service, relay, pinned, s3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    other = str(s3.publish(folder, tiny.artifacts(), id="other", aliases=("another",)))
    service = start_service(pinned, other)
    assert service.embed().status_code == 200
    assert not any("other" in each and "blobs" in each for each in relay.requests)
    listed = {each["id"]: each for each in service.http.get("/v1/models").json()["data"]}
    assert {"tiny", "someone/tiny", "other", "another", "text-embedding-ada-002"} <= set(listed)
    assert listed["another"]["root"] == "other"
    assert listed["other"]["digest"] == f"sha256:{Reference.parse(other).digest}"
    assert (listed["other"]["dimensions"], listed["other"]["max_tokens"]) == (32, tiny.MAX_TOKENS)
    response = service.embed("another")
    assert response.headers["x-model-digest"] == listed["other"]["digest"]
    assert response.headers["server-timing"].startswith("artifacts;")
    assert service.embed("unknown").status_code == 404


def test_unavailable_second_model_does_not_affect_the_first(start_service, relay, pinned):
    service = start_service(pinned, f"s3://{BUCKET}/models/never")
    assert service.embed().status_code == 200
    assert service.embed("never").status_code == 503
    assert service.embed("unknown").status_code == 503  # it might be an alias of the unavailable model
    assert "never" in service.reports[0].message
    assert relay.requests


def test_least_recently_used_model_is_evicted_when_memory_is_short(start_service, pinned, s3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    others = [str(s3.publish(folder, tiny.artifacts(), id=name, aliases=())) for name in ("b", "c")]
    service = start_service(pinned, *others, model_memory=TWO)
    loads = [
        "artifacts" in service.embed(name).headers["server-timing"] for name in ("tiny", "b", "b", "c", "b", "tiny")
    ]
    assert loads == [True, True, False, True, True, False]
    assert service.reports == []


def test_model_that_does_not_fit_in_memory_gets_503(start_service, pinned, s3, tmp_path_factory):
    other = str(s3.publish(tmp_path_factory.mktemp("other"), tiny.artifacts(), id="d", aliases=()))
    service = start_service(pinned, other, model_memory=TWO - 1)
    assert [service.embed(name).status_code for name in ("tiny", "d")] == [200, 503]
    assert "raise the function's memory" in service.reports[0].message


@pytest.mark.parametrize(
    "changes",
    [
        {"aliases": [["x"]]},
        {"aliases": ["tiny", "someone/tiny", "text-embedding-ada-002"], "dimensions": 0},
        {"max_tokens": 1_000_000},
        {"prompts": {"query": 5}},
        {"files": {name: {"size": 3 << 30, "sha256": "0" * 64} for name in ("model.onnx", "tokenizer.json")}},
        {"files": []},
    ],
    ids=",".join,
)
def test_invalid_manifest_affects_no_other_model(start_service, s3, pinned, changes):
    fields = json.loads(s3.client.get_object(Bucket=BUCKET, Key=f"models/tiny/{MANIFEST_FILE}")["Body"].read())
    content = json.dumps(fields | {"id": "bad"} | changes).encode()
    s3.client.put_object(Bucket=BUCKET, Key=f"models/bad/{MANIFEST_FILE}", Body=content)
    service = start_service(pinned, f"s3://{BUCKET}/models/bad", model_memory=1 << 30)
    for name, status in (("bad", 503), ("tiny", 200), ("someone/tiny", 200), ("text-embedding-ada-002", 200)):
        assert service.embed(name).status_code == status
    listed = service.http.get("/v1/models").json()["data"]
    assert {each["root"] for each in listed} == {"tiny"}
    assert service.http.get("/v1/models/tiny").status_code == 200
    (report,) = service.reports
    assert report.message.startswith(f"model 's3://{BUCKET}/models/bad': manifest.json is not a manifest: ")


def test_manifests_that_never_end_share_one_timeout(start_service, relay, pinned, monkeypatch):
    relay.where, relay.fault = "stalled", s3_server.drip
    service = start_service(pinned, *(f"s3://{BUCKET}/models/stalled-{number}" for number in range(5)))
    assert service.embed().status_code == 200
    monkeypatch.setattr("handler.models.catalog.LOAD_TIMEOUT_SECONDS", 2)
    started = time.monotonic()
    assert {each["root"] for each in service.http.get("/v1/models").json()["data"]} == {"tiny"}
    assert time.monotonic() - started < 4  # the timeout is 2 seconds here
