import gzip
import json
import time
import tracemalloc
from contextlib import nullcontext

import pytest

from handler.api.limits import MAX_BODY_BYTES
from handler.contract.body import MAX_CONTAINERS
from handler.contract.schemas import MAX_INPUTS, MAX_INT32, MAX_TOKEN_IDS, EmbeddingRequest
from handler.embedding.cl100k import MAX_CHARACTERS
from handler.errors import RequestError


def parse(**fields: object) -> EmbeddingRequest:
    return EmbeddingRequest.parse(json.dumps({"model": "m", "input": "a", **fields}).encode())


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("a", ["a"]),
        (" ", [" "]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        (["a"] * MAX_INPUTS, ["a"] * MAX_INPUTS),
        ([1] * (MAX_INPUTS + 1), [[1] * (MAX_INPUTS + 1)]),
        ([1] * MAX_TOKEN_IDS, [[1] * MAX_TOKEN_IDS]),
        ([0, MAX_INT32], [[0, MAX_INT32]]),
        (["a" * MAX_CHARACTERS], ["a" * MAX_CHARACTERS]),
    ],
)
def test_parse_accepts_all_four_forms_of_input(value, inputs):
    assert parse(input=value).input == inputs


@pytest.mark.parametrize(
    ("value", "param", "message"),
    [
        ("", "input", "empty string"),
        ([], "input", "empty list"),
        (["a", ""], "input.1", "empty string"),
        ([[1], []], "input.1", "empty list of token IDs"),
        (["a", 1], "input.1", "expected a string, like"),
        (["a", [1]], "input.1", "expected a string, like"),
        ([1, "a"], "input.1", "expected a token ID"),
        ([[1], "a"], "input.1", "expected a list of token IDs, like"),
        ([[1], [1, "a"]], "input.1.1", "expected a token ID"),
        ([[[1]]], "input.0.0", "expected a token ID"),
        ([1, -1], "input.1", "from 0 to 2147483647"),
        ([2**31], "input.0", "from 0 to 2147483647"),
        ([1.5], "input.0", "expected a string or a list"),
        ([True], "input.0", "expected a string or a list"),
        ([None], "input.0", "expected a string or a list"),
        (None, "input", "expected a string, a list"),
        (3, "input", "expected a string, a list"),
        ({"a": 1}, "input", "expected a string, a list"),
        (["a"] * (MAX_INPUTS + 1), "input", "at most 2048"),
    ],
)
def test_parse_rejects_invalid_inputs_with_their_position(value, param, message):
    with pytest.raises(RequestError, match=message) as raised:
        parse(input=value)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("value", "param", "code"),
    [
        (["a", "a" * (MAX_CHARACTERS + 1)], "input.1", "input_too_long"),
        ([1] * (MAX_TOKEN_IDS + 1), "input", "input_too_long"),
        ([[1], [1] * (MAX_TOKEN_IDS + 1)], "input.1", "input_too_long"),
        (["a"] * (MAX_INPUTS + 1), "input", "too_many_inputs"),
        ([[1]] * (MAX_INPUTS + 1), "input", "too_many_inputs"),
    ],
)
def test_parse_rejects_inputs_over_a_limit_with_their_position(value, param, code):
    with pytest.raises(RequestError) as raised:
        parse(input=value)
    assert (raised.value.param, raised.value.code) == (param, code)


def test_error_for_a_long_text_has_its_length_and_the_limit():
    with pytest.raises(RequestError, match=r"has 65,537 characters, and at most 65,536 are accepted"):
        parse(input="a" * (MAX_CHARACTERS + 1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoding_format", "hex"),
        ("dimensions", -1),
        ("dimensions", "8"),
        ("dimensions", 1.5),
        ("model", 3),
        ("user", 3),
    ],
)
def test_invalid_field_error_names_the_field(field, value):
    with pytest.raises(RequestError, match=f"Invalid value for '{field}'") as raised:
        parse(**{field: value})
    assert raised.value.param == field


def test_of_several_invalid_fields_the_first_is_named():
    with pytest.raises(RequestError) as raised:
        parse(model=3, dimensions=-1)
    assert raised.value.param == "model"


@pytest.mark.parametrize("field", ["model", "input"])
def test_missing_field_error_names_the_field(field):
    body = {"model": "m", "input": "a"}
    del body[field]
    with pytest.raises(RequestError, match=f"Missing required parameter: '{field}'"):
        EmbeddingRequest.parse(json.dumps(body).encode())


def test_unknown_encoding_format_error_lists_the_valid_ones():
    with pytest.raises(RequestError, match="'float' or 'base64'"):
        parse(encoding_format="hex")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"input": "\\ud800", "model": "m"}', b"[" * MAX_CONTAINERS])
def test_parse_rejects_invalid_json(body):
    with pytest.raises(RequestError, match="could not parse the JSON body"):
        EmbeddingRequest.parse(body)


@pytest.mark.parametrize("body", [b"[]", b'"a"', b"null"])
def test_parse_rejects_json_that_is_not_an_object(body):
    with pytest.raises(RequestError, match="must be a JSON object") as raised:
        EmbeddingRequest.parse(body)
    assert (raised.value.param, raised.value.code) == (None, "invalid_type")


def test_parse_accepts_null_optional_fields_and_ignores_unknown_ones():
    request = parse(dimensions=None, encoding_format=None, user=None, truncate="END")
    assert (request.dimensions, request.encoding_format, request.user) == (None, None, None)


@pytest.mark.parametrize("offset", [-1, 0, 1])
@pytest.mark.parametrize("nested", ["[]", "{}"])
def test_lists_and_objects_are_limited(nested, offset):
    containers = MAX_CONTAINERS + offset - 2  # beside the body and the list itself
    body = f'{{"model": "m", "input": "a", "other": [{",".join([nested] * containers)}]}}'.encode()
    with pytest.raises(RequestError, match="more than 16,384 lists") if offset > 0 else nullcontext():
        EmbeddingRequest.parse(body)


@pytest.mark.parametrize("text", ["[" * MAX_CHARACTERS, '\\{"' * 20_000, '{\\\\"[' * 12_000])
def test_brackets_in_a_text_are_not_counted(text):
    assert parse(input=[text, text]).input == [text, text]


@pytest.mark.parametrize(
    "strings", [b'"', b'"",', b'"ab', b'\\"', b'"\\\\",'], ids=["quotes", "empty", "unpaired", "escaped", "backslashes"]
)
def test_counting_lists_takes_little_memory_and_time(strings):
    body = b"[" * (MAX_CONTAINERS - 1) + b'["[",' + strings * (MAX_BODY_BYTES // len(strings) // 2)
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(RequestError, match="could not parse the JSON body"):
        EmbeddingRequest.parse(body)
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (seconds < 3, peak < 1 << 20) == (True, True), (seconds, peak)


@pytest.mark.parametrize("text", ["a", "\u00e9\U0001f35c"])
def test_utf_8_may_begin_with_a_byte_order_mark(text):
    body = json.dumps({"model": "tiny", "input": text}, ensure_ascii=False).encode("utf-8-sig")
    assert EmbeddingRequest.parse(body).input == [text]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_error_names_utf_16_and_utf_32(encoding):
    body = '{"model": "tiny", "input": "a"}'.encode(encoding)
    with pytest.raises(RequestError, match=f"it is {encoding[:6].upper()}; send it as UTF-8") as raised:
        EmbeddingRequest.parse(body)
    assert raised.value.code == "invalid_json"


def test_error_names_gzip_without_its_header():
    with pytest.raises(
        RequestError, match="it is gzip; compress it once, and send the header 'Content-Encoding: gzip'"
    ):
        EmbeddingRequest.parse(gzip.compress(b"{}"))
