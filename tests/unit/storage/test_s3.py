"""A prefix of a bucket, at a real S3 server over HTTP, with faults injected between the two."""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handler.bulk.formats import read_schema, split
from handler.errors import BulkError, StorageUnavailableError
from handler.storage import s3_client
from handler.storage.s3 import S3Prefix
from handler.storage.uri import open_input, open_storage
from tests import s3 as s3_server
from tests.s3 import BUCKET, S3, Exchange, Relay
from tests.unit.bulk.files import rows_of

pytestmark = pytest.mark.emulated

CONTENT = b"".join(hashlib.sha256(bytes([i % 256])).digest() for i in range(2000))  # 64,000 bytes


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server.serve() as server:
        yield server


@pytest.fixture
def relay(s3, monkeypatch) -> Iterator[Relay]:
    """Route the client through the relay, with short timeouts and small reads."""
    for name, value in {"READ_SECONDS": 1, "REQUEST_TRIES": 3, "BODY_TRIES": 3, "READ_AHEAD": 20_000}.items():
        monkeypatch.setattr(s3_client, name, value)
    monkeypatch.setattr("handler.storage.s3.READ_AHEAD", 20_000)
    with s3_server.storage_relay(s3, monkeypatch) as running:
        running.where = "job/"
        yield running


@pytest.fixture
def prefix(relay) -> S3Prefix:
    storage = S3Prefix(BUCKET, "job")
    storage.delete(entry.name for entry in storage.list())
    storage.write("a b/é.bin", CONTENT)
    relay.requests.clear()
    return storage


def test_files_are_written_listed_read_and_deleted(prefix, s3):
    s3.client.put_object(Bucket=BUCKET, Key="jobs/other", Body=b"of another prefix")
    s3.client.put_object(Bucket=BUCKET, Key="job/folder/", Body=b"")  # as consoles make one
    with prefix.temporary() as path:
        path.write_bytes(CONTENT)
        prefix.publish("part", path)
        assert path.exists()
    assert not path.exists()
    assert [(each.name, each.size) for each in prefix.list()] == [("a b/é.bin", 64_000), ("part", 64_000)]
    assert [each.name for each in prefix.list("a")] == ["a b/é.bin"]
    entry = prefix.entry("part")
    assert entry == prefix.list("part")[0]
    assert prefix.read("part") == CONTENT
    for start in (0, 1, 19_999, 63_999, 64_000, 70_000):
        with prefix.stream(entry, start) as stream:
            assert stream.read() == CONTENT[start:]
    assert prefix.exists("part")
    assert not prefix.exists("par")
    prefix.delete([*(f"missing {i}" for i in range(1001)), "part"])
    assert not prefix.exists("part")
    prefix.delete([])
    with pytest.raises(BulkError, match=r"s3://artifacts/job/part: the object does not exist"):
        prefix.entry("part")


def test_input_is_a_prefix_or_one_object(prefix):
    for name in ("_job/x", ".hidden", "b.jsonl", "b.jsonl.gz"):
        prefix.write(name, b"{}")
    storage, entries = open_input(f"s3://{BUCKET}/job/")
    assert [each.name for each in entries] == ["a b/é.bin", "b.jsonl", "b.jsonl.gz"]
    storage, entries = open_input(f"s3://{BUCKET}/job/b.jsonl")
    assert (storage.uri, entries) == (f"s3://{BUCKET}/job", [prefix.entry("b.jsonl")])
    assert len(open_input(f"s3://{BUCKET}")[1]) >= 3
    with pytest.raises(BulkError, match="s3://artifacts/nothing: there is no file to read"):
        open_input(f"s3://{BUCKET}/nothing")
    with pytest.raises(BulkError, match=r"gs://bucket/x: expected a path, or s3://bucket/prefix"):
        open_storage("gs://bucket/x")
    with pytest.raises(BulkError, match=r"s3:///x: there is no bucket; expected s3://bucket/prefix"):
        open_storage("s3:///x")


@s3_server.with_transient_faults
def test_read_goes_on_where_a_transient_fault_broke_it_off(prefix, relay, fault, times):
    entry = prefix.entry("a b/é.bin")
    relay.fault, relay.times = fault, times
    with prefix.stream(entry, 7) as stream:
        assert b"".join(iter(lambda: stream.read(10_000), b"")) == CONTENT[7:]
    assert len(relay.requests) == 5 + times  # the entry, four reads, and those that failed


def test_body_that_breaks_off_again_and_again_is_read_as_long_as_it_goes_on(prefix, relay):
    def send_some(exchange: Exchange) -> None:
        exchange.send_head(exchange.status, len(exchange.content))
        exchange.wfile.write(exchange.content[:2_000])
        exchange.close_connection = True

    entry = prefix.entry("a b/é.bin")
    relay.fault = send_some
    with prefix.random_access(entry) as file:
        assert file.read(20_000) == CONTENT[:20_000]
    assert len(relay.requests) == 11


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (s3_server.stall, StorageUnavailableError, "S3 cannot be reached, or breaks off .ReadTimeoutError."),
        (s3_server.error(500, "InternalError"), StorageUnavailableError, "S3 responds InternalError, also after"),
        (s3_server.error(503, "SlowDown"), StorageUnavailableError, "S3 responds SlowDown, also after retries"),
        (s3_server.error(403, "AccessDenied"), BulkError, "S3 refuses access .AccessDenied.; allow the role or user"),
        (s3_server.error(403, "ExpiredToken"), BulkError, "S3 refuses access .ExpiredToken."),
        (s3_server.error(404, "NoSuchKey"), BulkError, "the object does not exist"),
        (s3_server.error(404, "NoSuchBucket"), BulkError, "the bucket does not exist; correct its name"),
        (
            s3_server.error(400, "AuthorizationHeaderMalformed", Region="x"),
            BulkError,
            "the bucket is in another region",
        ),
        (s3_server.error(301, "PermanentRedirect"), BulkError, "the bucket is in another region .PermanentRedirect."),
        (s3_server.error(416, "InvalidRange"), BulkError, "the file has changed since the job was planned"),
        (s3_server.error(405, "MethodNotAllowed"), BulkError, "S3 responds MethodNotAllowed: injected"),
    ],
    ids=["stalled", "500", "503", "denied", "expired", "missing", "bucket", "region", "redirect", "short", "other"],
)
def test_permanent_fault_is_an_error_of_one_line(prefix, relay, fault, kind, message):
    entry = prefix.entry("a b/é.bin")
    relay.fault = fault
    started = time.monotonic()
    with pytest.raises(BulkError, match=message) as raised, prefix.stream(entry) as stream:
        stream.read()
    assert time.monotonic() - started < 20
    assert type(raised.value) is kind
    assert raised.value.message.startswith("s3://artifacts/job/a b/é.bin: ")
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("step", ["list", "entry", "exists", "read", "write", "publish", "delete"])
def test_every_step_says_that_access_is_denied(prefix, relay, tmp_path, step):
    (tmp_path / "file").write_bytes(b"x")
    relay.where, relay.fault = "", s3_server.error(403, "AccessDenied")
    arguments: dict[str, list[Any]] = {
        "entry": ["x"],
        "exists": ["x"],
        "read": ["x"],
        "write": ["x", b"x"],
        "publish": ["x", tmp_path / "file"],
        "delete": [["x"]],
    }
    with pytest.raises(BulkError, match=r"^s3://artifacts/job.*refuses access"):
        getattr(prefix, step)(*arguments.get(step, []))


def test_changed_input_is_not_read(prefix, s3):
    entry = prefix.entry("a b/é.bin")
    s3.client.put_object(Bucket=BUCKET, Key="job/a b/é.bin", Body=CONTENT[::-1])
    with pytest.raises(BulkError, match="the file has changed since the job was planned; restore it, or start"):
        prefix.stream(entry).read()


def test_without_credentials_the_error_says_so(prefix, monkeypatch, tmp_path):
    s3_client.make_client.cache_clear()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(BulkError, match="there are no AWS credentials; run aws configure"):
        prefix.list()


def test_settings_that_boto3_refuses_are_one_line(prefix, monkeypatch):
    with pytest.raises(BulkError, match="s3://in valid/a: Parameter validation failed: Invalid bucket name") as raised:
        S3Prefix("in valid", "").entry("a")
    assert type(raised.value) is BulkError
    s3_client.make_client.cache_clear()
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(BulkError, match=r"s3://artifacts/job/: The config profile \(missing\) could not be found"):
        prefix.list()


def test_server_that_is_not_there_is_unavailable(prefix, monkeypatch):
    s3_client.make_client.cache_clear()
    monkeypatch.setattr(s3_client, "REQUEST_TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageUnavailableError, match=r"S3 cannot be reached, or breaks off .EndpointConnectionError"):
        prefix.list()


def test_upload_that_breaks_off_is_repeated(prefix, relay, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    relay.fault, relay.times = s3_server.error(503, "SlowDown"), 2
    prefix.publish("part", tmp_path / "file")
    assert prefix.read("part") == CONTENT


def test_formats_are_read_from_s3_as_from_a_folder(prefix, relay):
    texts = [f"text {i} é" for i in range(3000)]
    rows = [json.dumps({"text": text}) for text in texts]
    prefix.write("a.jsonl", "\n".join(rows).encode())
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"text": texts}), f"{folder}/a", row_group_size=700)
        prefix.write("a.parquet", Path(folder, "a").read_bytes())
    for name in ("a.jsonl", "a.parquet"):
        relay.fault = None
        entry = prefix.entry(name)
        relay.fault, relay.times = s3_server.truncate, 2
        ranges = split(prefix, entry, "text", 1000, 9_999)
        assert len(ranges) > 2
        read, rejects = rows_of(prefix, entry, ranges)
        assert [row["text"] for _, row in read] == texts
        assert not rejects
    assert all(end == start for (_, end), (start, _) in pairwise(ranges))


def test_parquet_that_breaks_off_or_changes_raises_the_error_of_storage(prefix, relay, s3, tmp_path):
    pq.write_table(pa.table({"text": ["a"] * 3000}), tmp_path / "a")
    prefix.publish("a.parquet", tmp_path / "a")
    entry = prefix.entry("a.parquet")
    relay.fault = s3_server.error(503, "SlowDown")
    with pytest.raises(StorageUnavailableError, match="S3 responds SlowDown"):
        read_schema(prefix, [entry], "text")
    relay.fault = None
    s3.client.put_object(Bucket=BUCKET, Key="job/a.parquet", Body=b"changed")
    with pytest.raises(BulkError, match="the file has changed since"):
        read_schema(prefix, [entry], "text")


def test_an_object_is_created_once_and_written_from_blocks(prefix):
    assert prefix.create("created", b"first")
    assert not prefix.create("created", b"second")
    assert prefix.read("created") == b"first"
    prefix.write_stream("streamed", (CONTENT for _ in range(200)))  # 12.8 MB, more than one part of a multipart upload
    assert prefix.read("streamed") == CONTENT * 200
    prefix.write_stream("empty", iter(()))
    assert prefix.read("empty") == b""


def test_an_object_whose_blocks_fail_is_not_written(prefix, s3):
    def blocks() -> Iterator[bytes]:
        yield CONTENT * 200
        raise BulkError("the source fails")

    with pytest.raises(BulkError, match="the source fails"):
        prefix.write_stream("streamed", blocks())
    assert not prefix.exists("streamed")
    assert not s3.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_a_link_needs_no_credentials_and_names_its_end_and_the_files_name(prefix):
    link = prefix.download_url("a b/é.bin", 60)
    assert httpx2.get(link).content == CONTENT
    query = parse_qs(urlsplit(link).query)
    assert query["X-Amz-Expires"] == ["60"]
    assert query["response-content-disposition"] == ['attachment; filename="_.bin"']


def test_a_link_names_the_region_of_the_bucket(monkeypatch):
    """A signature is for one host: S3's redirect to the right region would make it invalid."""
    for name, value in {**s3_server.CREDENTIALS, "AWS_DEFAULT_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(name, value)
    s3_client.make_client.cache_clear()
    link = urlsplit(S3Prefix(BUCKET, "job").download_url("file-1", 60))
    s3_client.make_client.cache_clear()
    assert (link.netloc, link.path) == (f"{BUCKET}.s3.eu-central-1.amazonaws.com", "/job/file-1")
    assert parse_qs(link.query)["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
