"""Request parsing: arbitrary bytes and JSON become a valid request or one RequestError."""

import json
from typing import Any

from hypothesis import strategies as st

from handler.contract.schemas import MAX_INPUTS, MAX_TOKEN_IDS, EmbeddingRequest
from handler.embedding.cl100k import MAX_CHARACTERS
from handler.errors import RequestError, describe
from tests.fuzz import JSON, TEXTS, fuzz

IDS = st.integers(-2, 2**31 + 1)
INPUTS = st.one_of(TEXTS, st.lists(TEXTS, max_size=5), st.lists(IDS, max_size=5), st.lists(st.lists(IDS), max_size=5))
BODIES = st.fixed_dictionaries(
    {"model": st.one_of(TEXTS, st.just("tiny"), JSON), "input": st.one_of(INPUTS, INPUTS, JSON)},
    optional={
        "dimensions": st.one_of(st.integers(-1, 40), JSON),
        "encoding_format": st.one_of(st.sampled_from(["float", "base64", "hex"]), JSON),
        "input_type": st.one_of(st.sampled_from(["query", "passage"]), JSON),
        "user": JSON,
        "other": JSON,
    },
)


def check_parsing(body: bytes) -> None:
    try:
        request = EmbeddingRequest.parse(body)
    except RequestError as error:
        rejection = error
    else:
        check_request(request)
        return
    assert len(describe(rejection).encode("openai")) < 1_000
    assert rejection.code


def check_request(request: EmbeddingRequest) -> None:
    assert 1 <= len(request.input) <= MAX_INPUTS
    for each in request.input:
        assert 1 <= len(each) <= (MAX_CHARACTERS if isinstance(each, str) else MAX_TOKEN_IDS)
        if isinstance(each, str):
            each.encode()  # raises for a lone surrogate
    assert len({type(each) for each in request.input}) == 1


@fuzz(body=st.binary(max_size=300))
def test_any_bytes(body: bytes) -> None:
    check_parsing(body)


@fuzz(value=JSON)
def test_any_json(value: Any) -> None:
    check_parsing(json.dumps(value).encode())


@fuzz(value=BODIES, ascii_only=st.booleans())
def test_nearly_valid_requests(value: Any, ascii_only: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
    check_parsing(json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass"))


@fuzz(value=BODIES, at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_requests_with_one_byte_changed(value: Any, at: int, byte: int) -> None:
    body = bytearray(json.dumps(value).encode())
    body[at % len(body)] = byte
    check_parsing(bytes(body))
