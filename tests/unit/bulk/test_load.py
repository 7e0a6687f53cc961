"""Loads into S3 Vectors, as moto serves it: what arrives, limits, resuming, and errors of one line."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest

from handler.bulk import s3_vectors
from handler.bulk.__main__ import main
from handler.bulk.load import Loaded, load
from handler.bulk.s3_vectors import Vector, shorten
from handler.errors import BulkError
from tests import s3 as local_s3
from tests.unit.bulk.outputs import DIMENSIONS, OPTIONS, vectors_of, write_output, write_tables

pytestmark = pytest.mark.emulated

TARGET = "s3vectors://vectors/index"


@dataclass
class Store:
    """The vector bucket `vectors`, and the calls of PutVectors so far, as their numbers of vectors."""

    client: Any
    calls: list[int]

    def vectors(self) -> dict[str, Any]:
        """Return what the index holds, by key."""
        listed = self.client.list_vectors(
            vectorBucketName="vectors", indexName="index", returnData=True, returnMetadata=True
        )
        return {each["key"]: each for each in listed["vectors"]}


@pytest.fixture
def store(monkeypatch) -> Iterator[Store]:
    with local_s3.serve() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3vectors")
        client.create_vector_bucket(vectorBucketName="vectors")
        calls: list[int] = []
        put = s3_vectors.VectorIndex._put

        def counted(index: s3_vectors.VectorIndex, batch: list[Vector]) -> None:
            calls.append(len(batch))
            put(index, batch)

        monkeypatch.setattr(s3_vectors.VectorIndex, "_put", counted)
        yield Store(client, calls)
        client.close()


def run(source: str, target: str = TARGET) -> Loaded:
    return load(source, target, lambda *_: None)


@pytest.mark.parametrize("layout", ["columns", "vectors"])
def test_every_row_arrives_with_its_vector_and_its_metadata(store, tmp_path, layout):
    parts = [["a", "b", "c"], ["d"]]
    reported: list[tuple[int, int]] = []
    uri = write_output(tmp_path / "out", parts, replace(OPTIONS, layout=layout))
    assert load(uri, TARGET, lambda *counts: reported.append(counts)) == Loaded(vectors=4)
    assert reported == [(3, 4), (4, 4)]
    texts = [text for part in parts for text in part]
    held = store.vectors()
    assert list(held) == [f"id of {text}" for text in texts]
    for text, vector in zip(texts, vectors_of(texts), strict=True):
        found = held[f"id of {text}"]
        assert found["data"]["float32"] == vector.tolist()
        stars = {} if layout == "vectors" else {"stars": "abc".find(text) if text != "d" else 0}
        assert found["metadata"] == {"text": text, **stars}


def test_the_index_is_created_for_unit_vectors_of_these_dimensions(store, tmp_path):
    run(write_output(tmp_path / "out", [["a"]]))
    index = store.client.get_index(vectorBucketName="vectors", indexName="index")["index"]
    assert (index["dimension"], index["distanceMetric"], index["dataType"]) == (DIMENSIONS, "cosine", "float32")


def test_keys_of_rows_without_an_id_are_their_numbers(store, tmp_path):
    run(write_output(tmp_path / "out", [["a", "b"], ["c"]], replace(OPTIONS, id="")))
    assert {key: each["metadata"]["text"] for key, each in store.vectors().items()} == {"0": "a", "1": "b", "2": "c"}


def test_a_call_has_500_vectors_or_16_mib_at_most(store, tmp_path, monkeypatch):
    run(write_output(tmp_path / "out", [[f"text {row}" for row in range(1203)]], group=1000))
    assert sorted(store.calls) == [203, 500, 500]
    store.calls.clear()
    monkeypatch.setattr(s3_vectors, "MAX_CALL_BYTES", 4000)
    run(write_output(tmp_path / "other", [["a", "b", "c", "d", "e"]]))
    assert sorted(store.calls) == [2, 3]


def test_a_load_goes_on_after_the_last_whole_part(store, tmp_path, monkeypatch):
    uri = write_output(tmp_path / "out", [["a", "b"], ["c"], ["d"]])
    put = s3_vectors.VectorIndex._put

    def broken(index: s3_vectors.VectorIndex, batch: list[Vector]) -> None:
        if batch[0].key == "id of c":
            raise BulkError("broken off")
        put(index, batch)

    monkeypatch.setattr(s3_vectors.VectorIndex, "_put", broken)
    with pytest.raises(BulkError, match="broken off"):
        run(uri)
    monkeypatch.setattr(s3_vectors.VectorIndex, "_put", put)
    assert set(store.vectors()) == {"id of a", "id of b"}
    assert run(uri) == Loaded(vectors=2, earlier=2)
    assert run(uri) == Loaded(vectors=0, earlier=4)
    assert len(store.vectors()) == 4


def test_an_index_that_was_deleted_is_filled_again(store, tmp_path):
    uri = write_output(tmp_path / "out", [["a"]])
    run(uri)
    marker = tmp_path / "out/_job/loads/vectors/index.json"
    noted = json.loads(marker.read_text())
    marker.write_text(json.dumps({**noted, "created": "earlier"}))  # moto has no times
    store.client.delete_index(vectorBucketName="vectors", indexName="index")
    assert run(uri) == Loaded(vectors=1)


def test_values_over_the_limits_of_metadata_are_left_out_and_counted(store, tmp_path):
    table = pa.table(
        {
            "id": ["1", "2"],
            "text": ["t" * 39_000, "short"],
            "title": ["i" * 1900, "j" * 2100],
            "tag": ["x", "y"],
            "embedding": pa.array(list(vectors_of("ab")), pa.list_(pa.float32(), DIMENSIONS)),
        }
    )
    loaded = run(write_tables(tmp_path / "out", [table], ["ab"], OPTIONS))
    assert loaded.left_out == Counter(text=1, title=1)
    held = store.vectors()
    assert set(held["1"]["metadata"]) == {"title", "tag"}
    assert held["2"]["metadata"] == {"text": "short", "tag": "y"}


def test_metadata_has_50_keys_at_most():
    left_out: Counter[str] = Counter()
    kept = shorten({f"column {number:02d}": 1 for number in range(52)}, set(), left_out)
    assert len(kept) == 50
    assert sum(left_out.values()) == 2


@pytest.mark.parametrize(
    ("dimension", "metric", "message"),
    [
        (5, "cosine", "the index has dimensions '5', and must have '4'; name another one"),
        (4, "euclidean", "the index has metric 'euclidean', and must have 'cosine'; name another one"),
    ],
)
def test_an_index_of_another_shape_is_refused(store, tmp_path, dimension, metric, message):
    shape = {"dataType": "float32", "dimension": dimension, "distanceMetric": metric}
    store.client.create_index(vectorBucketName="vectors", indexName="index", **shape)
    with pytest.raises(BulkError, match=f"^{TARGET}: {message}$"):
        run(write_output(tmp_path / "out", [["a"]]))


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("s3://vectors/index", "TO is 's3://vectors/index': write s3vectors://bucket/index$"),
        ("s3vectors://nowhere/index", "^s3vectors://nowhere/index: the vector bucket does not exist; create it"),
    ],
)
def test_a_target_that_cannot_be_is_named(tmp_path, target, message):
    with pytest.raises(BulkError, match=message):
        run(write_output(tmp_path / "out", [["a"]]), target)


@pytest.mark.usefixtures("store")
def test_an_output_that_cannot_be_is_named(tmp_path):
    with pytest.raises(BulkError, match=r"FROM names no finished output: there is no _manifest\.json$"):
        run(str(tmp_path))
    uri = write_output(tmp_path / "out", [["a"]])
    Path(uri, "part-00000.parquet").write_bytes(b"PAR1 and so on, PAR1")
    with pytest.raises(BulkError, match=r"part-00000\.parquet: it is damaged"):
        run(uri)


@pytest.mark.usefixtures("store")
def test_without_credentials_there_is_one_line(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BulkError, match=r"there are no AWS credentials; run aws configure, or set AWS_PROFILE$"):
        run(write_output(tmp_path / "out", [["a"]]))


def test_without_a_region_there_is_one_line(tmp_path, monkeypatch):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(BulkError, match=r"^s3vectors://vectors/index: You must specify a region\.$"):
        run(write_output(tmp_path / "out", [["a"]]))


def test_the_command_says_how_many_vectors_arrived(store, tmp_path, capsys):
    output = write_output(tmp_path / "out", [["one", "two"]])
    assert main(["load", output, TARGET]) == 0
    assert capsys.readouterr().out == "2 vectors put, 0 by an earlier load\n"
    assert len(store.vectors()) == 2


def refuse(status: int, code: str) -> local_s3.Fault:
    """Return a fault that responds with an error of S3 Vectors."""

    def respond(exchange: local_s3.Exchange) -> None:
        content = json.dumps({"__type": code, "message": "injected"}).encode()
        exchange.upstream_headers.replace_header("content-length", str(len(content)))
        exchange.respond(status, content)

    return respond


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (refuse(403, "AccessDeniedException"), "access is denied; allow s3vectors:GetIndex, "),
        (refuse(429, "TooManyRequestsException"), "S3 Vectors responds TooManyRequestsException, also after retries; "),
        (refuse(400, "ValidationException"), "S3 Vectors responds ValidationException: injected$"),
        (local_s3.reset, "S3 Vectors cannot be reached .*; run it again: it goes on where it was$"),
    ],
)
def test_what_the_api_refuses_is_one_line(store, tmp_path, monkeypatch, fault, message):
    uri = write_output(tmp_path / "out", [[f"text {row}" for row in range(10)]])
    for name, value in {"TRIES": 2, "MAX_WAITING": 1, "MAX_CALL_VECTORS": 2}.items():
        monkeypatch.setattr(s3_vectors, name, value)
    with local_s3.relay(local_s3.S3(store.client.meta.endpoint_url, store.client)) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        relay.where, relay.fault = "PutVectors", fault
        with pytest.raises(BulkError, match=f"^{TARGET}: {message}") as raised:
            run(uri)
    assert "\n" not in raised.value.message


def test_many_calls_wait_for_each_other(store, tmp_path, monkeypatch):
    monkeypatch.setattr(s3_vectors, "MAX_WAITING", 1)
    monkeypatch.setattr(s3_vectors, "MAX_CALL_VECTORS", 2)
    assert run(write_output(tmp_path / "out", [[f"text {row}" for row in range(11)]])).vectors == 11
    assert len(store.vectors()) == 11
