from itertools import pairwise

import pytest

from handler.embedding import cl100k
from handler.errors import RequestError


def test_decode_inverts_openais_tokenizer():
    assert cl100k.decode([15339, 1917]) == "hello world"
    assert cl100k.decode([]) == ""


def test_decode_rejects_ids_of_too_many_characters(monkeypatch):
    monkeypatch.setattr(cl100k, "MAX_CHARACTERS", len("hello world"))
    assert cl100k.decode([15339, 1917])
    with pytest.raises(RequestError, match="4 token IDs stand for 22 characters, and at most 11") as raised:
        cl100k.decode([15339, 1917] * 2, "input.3")
    assert (raised.value.param, raised.value.code) == ("input.3", "input_too_long")


def test_vocabulary_has_bytes_for_every_id_and_an_id_for_every_byte():
    content, ends = cl100k._vocabulary()
    tokens = [content[start:end] for start, end in pairwise(ends)]
    assert len(tokens) == len(set(tokens)) == cl100k.SIZE
    assert all(tokens)
    assert {bytes([byte]) for byte in range(256)} <= set(tokens)
    assert ends[-1] == len(content)


def test_decode_replaces_only_incomplete_characters():
    content, ends = cl100k._vocabulary()
    ids = {content[start:end]: index for index, (start, end) in enumerate(pairwise(ends))}
    whole = [ids[bytes([byte])] for byte in "é".encode()]
    assert cl100k.decode(whole) == "é"
    assert cl100k.decode([*whole, whole[0]]) == "é\N{REPLACEMENT CHARACTER}"
