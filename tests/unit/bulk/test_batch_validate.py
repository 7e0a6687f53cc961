"""Validation: every bad line in order, in bounded memory, and nothing runs unless all are right."""

import json
import tracemalloc
from dataclasses import astuple
from typing import Any

import pytest

from handler.batches import files
from handler.batches.records import FileRecord
from handler.bulk import batch_validate
from handler.bulk.batch_requests import MAX_LINE_BYTES, read_requests
from handler.bulk.batch_validate import validate
from handler.storage.folder import Folder
from tests.unit.bulk.batches import DAY, NOW, OWNER, catalog, create, create_of, jsonl, line

MODELS = catalog()
Found = list[tuple[str, str | None, int | None]]


def check(tmp_path: Any, content: bytes) -> Found:
    """Return the code, param and line of each error; an empty list if there is a plan."""
    folder = create(tmp_path, content)
    validate(folder, MODELS, NOW)
    plan, end = folder.plan(), folder.end()
    assert bool(plan) != bool(end)
    if not end:
        return []
    assert (end.ending, end.output_file_id, end.error_file_id) == ("failed", None, None)
    return [(error.code, error.param, error.line) for error in end.errors]


def changed(**fields: Any) -> dict[str, Any]:
    return {**line("a"), **fields}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in line("a").items() if key != name}


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        ("{", "invalid_json_line", None),
        ("[]", "invalid_json_line", None),
        ('"a"', "invalid_json_line", None),
        ("[" * 5000, "invalid_json_line", None),
        ("[" * 20_000, "invalid_json_line", None),
        ('{"custom_id": "\\ud800"}', "invalid_json_line", None),
        ("\xff", "invalid_json_line", None),
        *[(without(name), "missing_required_parameter", name) for name in ("custom_id", "method", "url", "body")],
        (changed(custom_id=None), "missing_required_parameter", "custom_id"),
        ({}, "missing_required_parameter", "custom_id"),
        *[(line(id_), "invalid_request", "custom_id") for id_ in (1, 1.5, True, [], {}, ["a"], {"a": 1})],
        (changed(method="GET"), "invalid_request", "method"),
        (changed(url="/v1/chat/completions"), "invalid_url", "url"),
        (changed(url=1), "invalid_url", "url"),
        (changed(body="a"), "invalid_request", "body"),
        (changed(body={"input": "a"}), "invalid_request", "body.model"),
        (line("a", model=1), "invalid_request", "body.model"),
        (line("a", None), "invalid_request", "body.input"),
        (line("a", stream=True), "streaming_unsupported", "body.stream"),
        (line("a", model="gpt-4"), "model_not_found", "body.model"),
        (line("a", model="tiny@sha256:" + "0" * 64), "model_not_found", "body.model"),
        (line("a", model="someone/tiny"), "mismatched_model", "body.model"),
        (line("first"), "duplicate_custom_id", "custom_id"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_bad_line_fails_the_batch(tmp_path, bad, code, param):
    middle = bad.encode("latin-1") + b"\n" if isinstance(bad, str) else jsonl([bad])
    found = check(tmp_path, jsonl([line("first")]) + middle + jsonl([line("last")]))
    assert found == [(code, param, 2)]


def test_every_bad_line_is_reported_in_order(tmp_path):
    bad = [line("a", model="x"), line("b"), line("b"), {}, line("c", stream=True), line("d"), changed(url="/")]
    content = b"\n \t\r\n" + jsonl(bad)
    assert check(tmp_path, content) == [
        ("model_not_found", "body.model", 3),
        ("duplicate_custom_id", "custom_id", 5),
        ("missing_required_parameter", "custom_id", 6),
        ("streaming_unsupported", "body.stream", 7),
        ("invalid_url", "url", 9),
    ]


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_file_without_requests_fails(tmp_path, content):
    assert check(tmp_path, content) == [("empty_file", None, None)]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + jsonl([line("a"), line("b")]),
        jsonl([line("a"), line("b")]).replace(b"\n", b"\r\n"),
        jsonl([line("a"), line("b")]).rstrip(),
        b"\n\n" + jsonl([line("a")]) + b"\n  \n" + jsonl([line("b")]) + b"\n",
        jsonl([line("a"), line("")]),
        jsonl([line("a", "x" * 2_000_000), line("b", ["y" * 60_000] * 60)]),
        jsonl([line("a", stream=False), line("b", [])]),
    ],
    ids=[
        "byte order mark",
        "CRLF",
        "no line break at the end",
        "blank lines",
        "empty ID",
        "megabytes",
        "refused later",
    ],
)
def test_file_that_is_valid_has_a_plan(tmp_path, content):
    folder = create(tmp_path, content)
    validate(folder, MODELS, NOW)
    plan = folder.plan()
    assert plan
    assert (plan.at, plan.model, plan.digest, plan.requests) == (NOW, "tiny", "d" * 64, 2)
    read = [request.custom_id for shard in plan.shards for request in read_requests(folder, shard)]
    assert read == [
        json.loads(each.removeprefix(b"\xef\xbb\xbf"))["custom_id"] for each in content.split(b"\n") if each.strip()
    ]


def test_line_longer_than_a_request_is_refused_and_the_next_one_is_read(tmp_path):
    longest = jsonl([line("b")]).rstrip()
    longest += b" " * (MAX_LINE_BYTES - len(longest) - 1) + b"\n"
    assert check(tmp_path, longest + jsonl([line("c")])) == []
    for more in (1, 2, 3_000_000):
        content = b"{" * (MAX_LINE_BYTES + more) + b"\n" + jsonl([line("a"), {}])
        assert check(tmp_path, content) == [
            ("invalid_request", None, 1),
            ("missing_required_parameter", "custom_id", 3),
        ]
    assert check(tmp_path, b"{" * (MAX_LINE_BYTES + 1)) == [("invalid_request", None, 1)]


def test_limits_on_requests_and_inputs(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_validate, "MAX_REQUESTS", 3)
    monkeypatch.setattr(batch_validate, "MAX_INPUTS", 5)
    lines = [line(str(number)) for number in range(5)]
    assert check(tmp_path, jsonl(lines[:3]) + b"\n") == []
    assert check(tmp_path, jsonl(lines)) == [("too_many_tasks", None, None)]
    assert check(tmp_path, jsonl([{}, *lines[:2], {}])) == [
        ("missing_required_parameter", "custom_id", 1),
        ("too_many_tasks", None, None),
    ]
    assert check(tmp_path, jsonl([line("a", ["x"] * 4), line("b", [1] * 9)])) == []
    assert check(tmp_path, jsonl([line("a", ["x"] * 4), line("b", [[1], [2]])])) == [("too_many_tasks", None, None)]


def test_errors_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_validate, "MAX_ERRORS", 3)
    found = check(tmp_path, b"{\n" * 10)
    assert found == [*(("invalid_json_line", None, number) for number in (1, 2, 3)), ("invalid_request", None, None)]


def test_input_that_cannot_be_found_fails_the_batch(tmp_path):
    storage = Folder(tmp_path)
    record = FileRecord(f"file-{'0' * 32}", 0, NOW, NOW + 10, "in.jsonl", "batch_output")
    files.add(storage, OWNER, record, [jsonl([line("a")])])
    files.add(storage, "f" * 32, FileRecord(f"file-{'1' * 32}", 0, NOW, NOW + DAY, "in.jsonl", "batch"), [b"{}"])
    files.add(storage, OWNER, FileRecord(f"file-{'2' * 32}", 0, NOW, NOW, "in.jsonl", "batch"), [b"{}"])
    for input_id, message in (
        (record.id, "has not the purpose 'batch'"),
        (f"file-{'1' * 32}", "Cannot find file"),
        (f"file-{'2' * 32}", "Cannot find file"),
        ("../../batches", "Cannot find file"),
        ("s3://bucket/key", "no object is accepted here"),
    ):
        folder = create_of(storage, input_id)
        validate(folder, MODELS, NOW)
        end = folder.end()
        assert end
        (error,) = end.errors
        assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
        assert message in error.message


def test_input_is_copied_so_that_its_file_may_be_deleted(tmp_path):
    folder = create(tmp_path, jsonl([line("a")]))
    validate(folder, MODELS, NOW)
    record = files.get(folder.storage, OWNER, folder.record().input_file_id, NOW)
    files.delete(folder.storage, OWNER, record)
    assert folder.storage.read(folder.path("input")) == jsonl([line("a")])


def test_file_that_is_too_large_is_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_validate, "MAX_FILE_BYTES", 10)
    assert check(tmp_path, jsonl([line("a")])) == [("invalid_request", "file_id", None)]
    assert not list(tmp_path.rglob("input"))


def test_validation_happens_once(tmp_path):
    folder = create(tmp_path, jsonl([line("a")]))
    validate(folder, MODELS, NOW)
    plan = folder.plan()
    validate(folder, MODELS, NOW + 5)
    assert folder.plan() == plan


def test_shards_are_bounded_by_inputs_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_validate, "SHARD_INPUTS", 4)
    monkeypatch.setattr(batch_validate, "SHARD_BYTES", 1000)
    inputs: list[object] = [["a"] * 2, ["a"] * 2, "a", ["a"] * 9, "a", "a" * 2000, "a", ["a"] * 3]
    content = jsonl(line(str(number), value) for number, value in enumerate(inputs))
    folder = create(tmp_path, content)
    validate(folder, MODELS, NOW)
    plan = folder.plan()
    assert plan
    assert [shard.requests for shard in plan.shards] == [2, 1, 1, 1, 1, 2]
    assert [shard.number for shard in plan.shards] == list(range(6))
    assert (plan.shards[0].start, plan.shards[-1].end) == (0, len(content))
    assert all(astuple(left)[2] == astuple(right)[1] for left, right in zip(plan.shards, plan.shards[1:], strict=False))


def test_memory_is_bounded(tmp_path):
    content = jsonl(line(f"{number:040}", "the food was good " * 8) for number in range(20_000))
    folder = create(tmp_path, content + b"{}\n" * 50_000)
    tracemalloc.start()
    try:
        validate(folder, MODELS, NOW)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12e6
