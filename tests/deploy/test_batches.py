"""Files, uploads and batches with OpenAI's client, from the upload to the webhook: locally, and on a deployed stack.

`-k desk` runs the tests of the former alone, which need neither Docker nor root.
"""

import base64
import hashlib
import json
import math
import re
import ssl
import subprocess
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest
from openai.types import Batch

from tests import webhooks
from tests.deploy import faults
from tests.deploy.aws import CONTAINERS_HOST, Aws
from tests.deploy.faults import Fault
from tests.deploy.stack import MODEL, Key
from tests.emulator import ROOT
from tests.webhooks import Receiver

GOLDEN = json.loads((ROOT / "model_artifacts" / MODEL / "golden.json").read_text())["data"]
TEXTS = [each["text"] for each in GOLDEN]
PART_BYTES = 4 << 20  # what passes API Gateway and Lambda
ENDED = {"completed", "failed", "expired", "cancelled"}


@dataclass(frozen=True)
class Service:
    """A running service: clients with the keys of two callers, and what receives its webhooks.

    sent  the host and the Authorization header of every request
    """

    clients: tuple[openai.OpenAI, openai.OpenAI]
    receiver: Receiver
    sent: list[tuple[str, str | None]]


@contextmanager
def connect(url: str, keys: Iterable[Key], receiver: Receiver, trust: ssl.SSLContext) -> Iterator[Service]:
    """Connect clients to a service, which try nothing twice."""
    sent: list[tuple[str, str | None]] = []

    def record(request: httpx2.Request) -> None:
        sent.append((request.url.host, request.headers.get("authorization")))

    with openai.DefaultHttpxClient(verify=trust, event_hooks={"request": [record]}) as http:
        options: dict[str, Any] = {"base_url": url, "http_client": http, "max_retries": 0}
        alice, bob = (openai.OpenAI(api_key=key.secret, **options) for key in keys)
        yield Service((alice, bob), receiver, sent)


@pytest.fixture(scope="module", params=["desk", "aws"])
def service(request) -> Iterator[Service]:
    with globals()[f"on_{request.param}"](request.getfixturevalue) as running:
        yield running


@contextmanager
def on_aws(fixture: Callable[[str], Any]) -> Iterator[Service]:
    """Use a stack, whose bucket has a name that leads from containers to it, and here from this machine as well."""
    bulk, aws = fixture("bulk_stack"), fixture("aws")
    stack = bulk.stack
    aws.name_host(f"https://{stack.outputs()['ArtifactBucketName']}.{CONTAINERS_HOST}")
    authority = ssl.create_default_context(cafile=str(aws.authority))
    with connect(stack.url, (stack.key, fixture("other_key")), bulk.receiver, authority) as service:
        yield service


@contextmanager
def on_desk(fixture: Callable[[str], Any]) -> Iterator[Service]:
    """Start the local server, as `make run` does."""
    keys: tuple[Key, Key] = fixture("key"), fixture("other_key")
    folder = fixture("tmp_path_factory").mktemp("data")
    command = [str(ROOT / ".venv/bin/python"), "-m", "handler.local", "--port", "0", "--quiet", "--data", str(folder)]
    with webhooks.receive("127.0.0.1") as receiver:
        settings = {"API_KEYS": ",".join(key.pair for key in keys), "WEBHOOK_SECRET": webhooks.SECRET}
        settings["WEBHOOK_URL"] = f"http://127.0.0.1:{receiver.port}/hook"
        with subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                (url,) = re.findall(r"http://[\d.:]+/v1", process.stdout.readline())
                with connect(url, keys, receiver, ssl.create_default_context()) as service:
                    yield service
            finally:
                process.terminate()


def request(custom_id: str, value: Any, **body: Any) -> dict[str, Any]:
    """Return a request of a batch."""
    body = {"model": MODEL, "input": value, **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}


def jsonl(requests: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in requests)


def create(client: openai.OpenAI, content: bytes, **options: Any) -> Batch:
    """Upload a file, and create a batch of it."""
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h", extra_headers=options
    )


def wait(service: Service, batch: Batch, key: int = 0, seconds: float = 120) -> Batch:
    """Poll a batch until it has ended, and wait for its webhook; its counts never go back."""
    deadline, done = time.monotonic() + seconds, 0
    while (found := service.clients[key].batches.retrieve(batch.id)).status not in ENDED:
        assert time.monotonic() < deadline, found
        assert found.request_counts
        assert found.request_counts.completed >= done
        done = found.request_counts.completed
        time.sleep(0.2)
    service.receiver.wait_for(batch.id, f"batch.{found.status}")
    return found


def lines(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    """Return the lines of an output or error file by their custom IDs."""
    assert file_id
    found = [json.loads(line) for line in client.files.content(file_id).iter_lines()]
    by_id = {each["custom_id"]: each for each in found}
    assert len(by_id) == len(found)
    return by_id


def online(client: openai.OpenAI, **body: Any) -> dict[str, Any]:
    """Return the body of POST /v1/embeddings."""
    response: dict[str, Any] = client.post("/embeddings", body={"model": MODEL, **body}, cast_to=httpx2.Response).json()
    return response


def cosine(embedding: str, reference: str) -> float:
    one, other = (array("f", base64.b64decode(each)) for each in (embedding, reference))
    return math.sumprod(one, other) if hasattr(math, "sumprod") else sum(a * b for a, b in zip(one, other, strict=True))


def test_files_are_stored_listed_read_and_deleted(service):
    client, _ = service.clients
    content = jsonl([request("a", "x")])
    files = [client.files.create(file=(f"{number}.jsonl", content), purpose="batch") for number in range(3)]
    last = files[-1]
    assert (last.bytes, last.filename, last.purpose, last.object) == (len(content), "2.jsonl", "batch", "file")
    assert client.files.wait_for_processing(last.id).status == "processed"
    listed = [each.id for each in client.files.list(limit=2)]  # in pages, which the client asks for by itself
    assert sorted(listed) == sorted(each.id for each in files)
    assert [each.id for each in client.files.list(limit=1, order="asc")] == listed[::-1]
    assert client.files.content(last.id).content == content
    for each in files:
        assert client.files.delete(each.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(last.id)


def test_the_documents_example_runs(service, capsys):
    client, _ = service.clients
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/batch.md").read_text(), re.DOTALL)
    created = 'OpenAI(base_url="http://127.0.0.1:3000/v1", api_key="none")'
    assert created in code
    exec(code.replace(created, "CLIENT"), {"CLIENT": client})  # noqa: S102 - the example
    assert sorted(capsys.readouterr().out.splitlines()) == ["a 1", "b 2"]


def test_a_batch_has_the_vectors_of_the_api_bit_for_bit(service):
    client, _ = service.clients
    requests = [request(f"text-{n}", text, encoding_format="base64") for n, text in enumerate(TEXTS)]
    requests += [request("floats", TEXTS[:20]), request("short", TEXTS[:3], dimensions=64), request("bad", ["x", ""])]
    batch = create(client, jsonl(requests))
    assert (batch.status, batch.object, batch.endpoint) == ("validating", "batch", "/v1/embeddings")
    ended = wait(service, batch)
    assert (ended.status, ended.errors, ended.model) == ("completed", None, MODEL)
    assert ended.request_counts
    assert ended.request_counts.model_dump() == {"total": len(requests), "completed": len(requests) - 1, "failed": 1}
    assert ended.in_progress_at
    assert ended.completed_at
    assert batch.created_at <= ended.in_progress_at <= ended.completed_at
    output, errors = lines(client, ended.output_file_id), lines(client, ended.error_file_id)
    assert output.keys() | errors.keys() == {each["custom_id"] for each in requests}
    expected = online(client, input=TEXTS, encoding_format="base64")["data"]
    for number, (row, reference) in enumerate(zip(expected, GOLDEN, strict=True)):
        (found,) = output[f"text-{number}"]["response"]["body"]["data"]
        assert found["embedding"] == row["embedding"]
        assert cosine(found["embedding"], reference["embedding"]) > 0.96
    for name, body in (("floats", {"input": TEXTS[:20]}), ("short", {"input": TEXTS[:3], "dimensions": 64})):
        assert output[name]["response"]["body"] == online(client, **body, encoding_format="float")
    assert (errors["bad"]["error"], errors["bad"]["response"]["status_code"]) == (None, 400)
    assert errors["bad"]["response"]["body"]["error"]["param"] == "input.1"
    assert ended.usage
    tokens = sum(each["response"]["body"]["usage"]["total_tokens"] for each in output.values())
    assert ended.usage.total_tokens == ended.usage.input_tokens == tokens
    assert client.files.retrieve(ended.output_file_id or "").purpose == "batch_output"


def test_a_large_file_is_uploaded_in_parts_and_a_large_output_is_downloaded_without_the_key(service, tmp_path):
    client, _ = service.clients
    padding = "x" * 600_000
    requests = [request(f"{number}", TEXTS[:100], user=padding) for number in range(15)]  # 9 MB, of which 5 come out
    path = tmp_path / "large.jsonl"
    path.write_bytes(jsonl(requests))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324 - OpenAI's API asks for it
    upload = client.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch", part_size=PART_BYTES, md5=md5
    )
    assert upload.status == "completed"
    assert upload.file
    assert client.files.retrieve(upload.file.id).bytes == path.stat().st_size
    batch = client.batches.create(input_file_id=upload.file.id, endpoint="/v1/embeddings", completion_window="24h")
    ended = wait(service, batch)
    assert ended.status == "completed", ended
    service.sent.clear()
    output = lines(client, ended.output_file_id)
    assert len(output) == len(requests)
    size = client.files.retrieve(ended.output_file_id or "").bytes
    assert size > PART_BYTES
    (_, key), *redirected, _ = service.sent
    assert key == f"Bearer {client.api_key}"
    if client.base_url.scheme == "https":  # on AWS, S3 sends it
        ((host, none),) = redirected
        assert host.endswith(CONTAINERS_HOST)
        assert none is None


def test_every_bad_line_is_named_and_nothing_runs(service):
    client, _ = service.clients
    bad = [request("a", "x"), request("a", "y"), {**request("c", "z"), "url": "/v1/chat/completions"}]
    bad += [request("d", "x", model="gpt-4"), request("e", "x", stream=True), {"custom_id": "f"}]
    batch = create(client, jsonl(bad) + b"no JSON\n")
    ended = wait(service, batch)
    assert (ended.status, ended.output_file_id, ended.error_file_id) == ("failed", None, None)
    assert ended.errors
    assert [(each.line, each.code) for each in ended.errors.data or []] == [
        (2, "duplicate_custom_id"),
        (3, "invalid_url"),
        (4, "model_not_found"),
        (5, "streaming_unsupported"),
        (6, "missing_required_parameter"),
        (7, "invalid_json_line"),
    ]


def test_a_batch_is_cancelled(service):
    client, _ = service.clients
    batch = create(client, jsonl([request(f"{number}", TEXTS * 4) for number in range(25)]))
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    ended = wait(service, batch)
    assert (ended.status, ended.cancelled_at is None) == ("cancelled", False)
    assert ended.request_counts
    if ended.error_file_id:
        errors = lines(client, ended.error_file_id)
        assert {each["error"]["code"] for each in errors.values()} == {"batch_cancelled"}
        assert ended.request_counts.failed == len(errors)
    with pytest.raises(openai.ConflictError) as refused:
        client.batches.cancel(wait(service, create(client, jsonl([request("a", "x")]))).id)
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_a_report_that_is_refused_is_repeated_with_its_id(service):
    service.receiver.statuses[:] = [500, 307]
    client, _ = service.clients
    batch = wait(service, create(client, jsonl([request("a", "x")])))
    assert batch.status == "completed"
    reports = service.receiver.wait_for(batch.id, "batch.completed")
    assert [each.status for each in reports] == [500, 307, 200]
    assert {each.headers["webhook-id"] for each in reports} == {f"evt_{batch.id.removeprefix('batch_')}"}


def test_batches_are_listed_and_belong_to_their_key(service):
    client, other = service.clients
    created = [create(client, jsonl([request("a", "x")])).id for _ in range(3)]
    listed = [each.id for each in client.batches.list(limit=2)]
    assert set(created) <= set(listed)
    assert len(listed) == len(set(listed))
    assert [each.id for each in other.batches.list()] == []
    for call in (other.batches.retrieve, other.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call(created[0])
    file = client.batches.retrieve(created[0]).input_file_id
    for call in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file)
    stolen = other.batches.create(input_file_id=file, endpoint="/v1/embeddings", completion_window="24h")
    ended = wait(service, stolen, key=1)
    assert ended.errors
    assert [each.code for each in ended.errors.data or []] == ["invalid_request"]
    for each in created:
        assert wait(service, client.batches.retrieve(each)).status == "completed"


def test_a_repeated_create_finds_the_first_batch(service):
    client, _ = service.clients
    file = client.files.create(file=("in.jsonl", jsonl([request("a", "x")])), purpose="batch")
    options = {"input_file_id": file.id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    headers = {"idempotency-key": f"{time.time()}"}
    first, second = (client.batches.create(**options, extra_headers=headers) for _ in range(2))
    assert first.id == second.id
    with pytest.raises(openai.ConflictError):
        client.batches.create(**options, metadata={"another": "one"}, extra_headers=headers)


def test_a_file_may_be_deleted_while_its_batch_runs(service):
    client, _ = service.clients
    batch = create(client, jsonl([request("a", "x")]))
    while client.batches.retrieve(batch.id).status == "validating":
        time.sleep(0.1)
    client.files.delete(batch.input_file_id)
    assert wait(service, batch).status == "completed"


# What only a stack has: faults of S3, and inputs in its bucket.


@dataclass(frozen=True)
class Bucket:
    """The stack's bucket, and the service in front of it."""

    service: Service
    aws: Aws
    name: str

    def put(self, key: str, content: bytes) -> None:
        """Write an object, with the rights of the account."""
        self.aws.client("s3").put_object(Bucket=self.name, Key=key, Body=content)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix."""
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    @contextmanager
    def failing(self, *wanted: Fault) -> Iterator[None]:
        """Have requests to S3 fail during a block."""
        faults.ask_for(self.aws.folder, *wanted)
        yield
        faults.ask_for(self.aws.folder)


@pytest.fixture(scope="module")
def bucket(aws, bulk_stack, request) -> Iterator[Bucket]:
    with on_aws(request.getfixturevalue) as service:
        yield Bucket(service, aws, bulk_stack.stack.outputs()["ArtifactBucketName"])


def test_on_aws_a_batch_ends_that_meets_throttling(bucket):
    client, _ = bucket.service.clients
    batch = create(client, jsonl([request(f"{number}", TEXTS[:9]) for number in range(3)]))
    with bucket.failing(Fault("^(GET|PUT|POST) .*batches/owners", "SlowDown", every=7)):
        assert wait(bucket.service, batch).status == "completed"


def test_on_aws_requests_of_a_shard_that_always_fails_become_errors(bucket):
    client, _ = bucket.service.clients
    requests = [request(f"{number}", "x", user="x" * 1_100_000) for number in range(3)]  # a shard each
    with bucket.failing(Fault(r"^PUT .*/shards/1\.output", "AccessDenied", status=403)):
        ended = wait(bucket.service, create(client, jsonl(requests)))
    assert ended.status == "completed"
    assert lines(client, ended.output_file_id).keys() == {"0", "2"}
    (error,) = lines(client, ended.error_file_id).values()
    assert (error["custom_id"], error["response"], error["error"]["code"]) == ("1", None, "internal_error")


def test_on_aws_a_batch_that_cannot_be_planned_fails(bucket):
    client, _ = bucket.service.clients
    with bucket.failing(Fault(r"^PUT .*/plan\.json", "AccessDenied", status=403)):
        ended = wait(bucket.service, create(client, jsonl([request("a", "x")])))
    assert ended.status == "failed"
    assert ended.errors
    assert [each.code for each in ended.errors.data or []] == ["internal_error"]


def test_on_aws_a_batch_that_nothing_has_ended_is_ended_after_its_window(bucket):
    client, _ = bucket.service.clients
    file = client.files.create(file=("in.jsonl", jsonl([request("a", "x")])), purpose="batch")
    (key,) = [each for each in bucket.keys("batches/owners/") if each.endswith(f"{file.id}.json")]
    owner, created = key.split("/")[2], int(time.time()) - 2 * 86_400
    stuck = f"batch_{created:08x}{'0' * 24}"
    record = {"id": stuck, "owner": owner, "created_at": created, "expires_at": created + 86_400}
    record |= {"endpoint": "/v1/embeddings", "completion_window": "24h", "input_file_id": file.id, "metadata": None}
    content = json.dumps({**record, "output_expires_after": 2_592_000}).encode()
    bucket.put(f"batches/owners/{owner}/batches/{stuck}/batch.json", content)
    ended = wait(bucket.service, client.batches.retrieve(stuck))
    assert (ended.status, ended.output_file_id) == ("expired", None)
    assert lines(client, ended.error_file_id)["a"]["error"]["code"] == "batch_expired"


def test_on_aws_an_input_may_be_an_object_that_any_caller_may_name_and_no_other(bucket):
    client, other = bucket.service.clients
    options = {"endpoint": "/v1/embeddings", "completion_window": "24h"}
    bucket.put("bulk/in/batch.jsonl", jsonl([request("a", "x")]))
    batch = client.batches.create(input_file_id=f"s3://{bucket.name}/bulk/in/batch.jsonl", **options)
    ended = wait(bucket.service, batch)
    assert ended.status == "completed", ended
    (key,) = [each for each in bucket.keys("batches/") if each.endswith(f"/{ended.output_file_id}")]
    stolen = other.batches.create(input_file_id=f"s3://{bucket.name}/{key}", **options)
    refused = wait(bucket.service, stolen, key=1).errors
    assert refused
    assert [each.code for each in refused.data or []] == ["invalid_request"]
