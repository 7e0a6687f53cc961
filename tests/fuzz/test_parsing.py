"""Bytes and JSON of every kind to a request, or to one clear refusal."""

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


def parsed_or_refused(body: bytes) -> None:
    try:
        request = EmbeddingRequest.parse(body)
    except RequestError as error:
        refused = error
    else:
        check(request)
        return
    assert len(describe(refused).encode("openai")) < 1_000
    assert refused.code


def check(request: EmbeddingRequest) -> None:
    assert 1 <= len(request.input) <= MAX_INPUTS
    for each in request.input:
        assert 1 <= len(each) <= (MAX_CHARACTERS if isinstance(each, str) else MAX_TOKEN_IDS)
        if isinstance(each, str):
            each.encode()  # no half of a surrogate pair
    assert len({type(each) for each in request.input}) == 1


@fuzz(body=st.binary(max_size=300))
def test_bytes(body: bytes) -> None:
    parsed_or_refused(body)


@fuzz(value=JSON)
def test_json(value: Any) -> None:
    parsed_or_refused(json.dumps(value).encode())


@fuzz(value=BODIES, ascii_only=st.booleans())
def test_what_is_almost_a_request(value: Any, ascii_only: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
    parsed_or_refused(json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass"))


@fuzz(value=BODIES, at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_request_with_one_byte_changed(value: Any, at: int, byte: int) -> None:
    body = bytearray(json.dumps(value).encode())
    body[at % len(body)] = byte
    parsed_or_refused(bytes(body))
