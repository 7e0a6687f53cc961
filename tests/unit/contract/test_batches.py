"""Requests of Files, Uploads and Batches: limits, and OpenAI's words for what is refused."""

import json
from typing import Any

import pytest

from handler.contract.batches import CompleteUpload, CreateBatch, CreateFile, CreateUpload, ListFiles, check_beginning
from handler.errors import RequestError

BATCH = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
UPLOAD = {"bytes": 5, "filename": "a.jsonl", "mime_type": "text/plain", "purpose": "batch"}
AFTER = {"anchor": "created_at", "seconds": 3600}


@pytest.mark.parametrize(
    ("schema", "valid", "changes", "refused", "message"),
    [
        (CreateBatch, BATCH, {"endpoint": "/v1/x"}, ("endpoint", "invalid_value"), "are: '/v1/embeddings'. Only"),
        (CreateBatch, BATCH, {"completion_window": "1h"}, ("completion_window", "invalid_value"), "values are: '24h'"),
        (CreateBatch, BATCH, {"metadata": {"tags": ["a"]}}, ("metadata.tags", "invalid_type"), "valid string"),
        (CreateBatch, BATCH, {"metadata": {"k" * 65: "a"}}, (None, "invalid_value"), "at most 64 characters"),
        (CreateBatch, BATCH, {"metadata": {"a": "b" * 513}}, ("metadata.a", "invalid_value"), "at most 512 characters"),
        (
            CreateBatch,
            BATCH,
            {"metadata": {f"{i}": "" for i in range(17)}},
            ("metadata", "invalid_value"),
            "at most 16",
        ),
        (CreateBatch, BATCH, {"metadata": []}, ("metadata", "invalid_type"), "object"),
        (CreateBatch, BATCH, {"input_file_id": None}, ("input_file_id", "invalid_type"), "string"),
        (CreateBatch, BATCH, {"input_file_id": "f" * 1025}, ("input_file_id", "invalid_value"), "at most 1024"),
        (CreateBatch, BATCH, {"output_expires_after": 5}, ("output_expires_after", "invalid_type"), "object"),
        *(
            (CreateBatch, BATCH, {"output_expires_after": AFTER | {"seconds": seconds}}, (param, code), "Invalid")
            for seconds, param, code in (
                (3599, "output_expires_after.seconds", "invalid_value"),
                (2_592_001, "output_expires_after.seconds", "invalid_value"),
                ("3600", "output_expires_after.seconds", "invalid_type"),
            )
        ),
        (CreateUpload, UPLOAD, {"purpose": "fine-tune"}, ("purpose", "invalid_value"), "Only files of batches"),
        (CreateUpload, UPLOAD, {"bytes": 0}, ("bytes", "invalid_value"), "File is empty."),
        (CreateUpload, UPLOAD, {"bytes": (200 << 20) + 1}, ("bytes", "invalid_value"), "File is too large"),
        (CreateUpload, UPLOAD, {"bytes": True}, ("bytes", "invalid_type"), "integer"),
        (CreateUpload, UPLOAD, {"filename": "a.json"}, ("filename", "invalid_value"), "Must be .jsonl"),
        (CreateUpload, UPLOAD, {"filename": "a.jsonl\n"}, ("filename", "invalid_value"), "Must be .jsonl"),
        (CreateUpload, UPLOAD, {"filename": "a" * 250 + ".jsonl"}, ("filename", "invalid_value"), "at most 255"),
        (CompleteUpload, {"part_ids": []}, {"part_ids": ["x"] * 1001}, ("part_ids", "invalid_value"), "at most 1000"),
        (CompleteUpload, {"part_ids": []}, {"md5": "0" * 31}, ("md5", "invalid_value"), "pattern"),
        (CompleteUpload, {"part_ids": []}, {"md5": "0" * 32 + "\n"}, ("md5", "invalid_value"), "pattern"),
    ],
)
def test_invalid_fields_are_named(schema, valid, changes, refused, message):
    param, code = refused
    assert schema.parse(json.dumps(valid).encode())
    with pytest.raises(RequestError, match=message) as raised:
        schema.parse(json.dumps(valid | changes).encode())
    assert raised.value.code == code
    assert param is None or raised.value.param == param
    assert len(raised.value.message) < 500


@pytest.mark.parametrize("missing", BATCH)
def test_missing_fields_are_named(missing):
    with pytest.raises(RequestError, match=f"Missing required parameter: '{missing}'") as raised:
        CreateBatch.parse(json.dumps({name: value for name, value in BATCH.items() if name != missing}).encode())
    assert (raised.value.param, raised.value.code) == (missing, "missing_required_parameter")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b"\xff\xfe{\0", b'{"a": "\\ud800"}', b"[" * 20_000])
def test_what_is_no_object_is_refused(body):
    with pytest.raises(RequestError):
        CreateBatch.parse(body)


def test_a_body_may_begin_with_a_byte_order_mark():
    assert CreateBatch.parse(b"\xef\xbb\xbf" + json.dumps(BATCH).encode()).input_file_id == "file-1"


def test_names_in_messages_are_cut():
    with pytest.raises(RequestError) as raised:
        CreateBatch.parse(json.dumps(BATCH | {"endpoint": "x" * 100_000}).encode())
    assert len(raised.value.message) < 500
    with pytest.raises(RequestError) as raised:
        CreateBatch.parse(json.dumps(BATCH | {"metadata": {"x" * 100_000: ""}}).encode())
    assert len(f"{raised.value.message}{raised.value.param}") < 500


def test_queries_and_forms_are_strings():
    assert ListFiles.parse_strings({"limit": "5", "order": "asc", "other": "x"}).limit == 5
    fields: dict[str, Any] = {"file": "a.jsonl", "purpose": "batch", "expires_after": AFTER | {"seconds": "3600"}}
    assert CreateFile.parse_strings(fields).expires_after
    for query in ({"limit": "0"}, {"limit": "10001"}, {"limit": "x"}, {"limit": "9" * 5_000}, {"order": "up"}):
        with pytest.raises(RequestError) as raised:
            ListFiles.parse_strings(dict(query))
        assert raised.value.param in query


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"a": 1}\nnot json',
        b'\n \r\n{"a": 1}\r\n',
        b"\xef\xbb\xbf{}\n",
        b'{"a": "' + b"x" * 70_000,
        b"\n" * 70_000,
    ],
)
def test_json_lines_are_accepted(content):
    check_beginning(content[: 64 << 10])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "File is empty"),
        (b"not json\n{}", "the first line is not valid JSON"),
        (b'{"a": ', "the first line is not valid JSON"),
        (b"\n", "the first line is not valid JSON"),
        ("{}".encode("utf-16"), "it is UTF-16; send it as UTF-8"),
        (b"\x1f\x8b\x08", "it is gzip"),
        (b"\xff{}", "the first line is not valid JSON"),
    ],
)
def test_what_is_not_json_at_all_is_refused(content, why):
    with pytest.raises(RequestError, match=why):
        check_beginning(content)
