from itertools import pairwise

import pytest

from handler.embedding import cl100k
from model_artifacts.recipe.cl100k import pack


def test_ids_become_the_text_that_openais_tokenizer_cut():
    assert cl100k.decode([15339, 1917]) == "hello world"
    assert cl100k.decode([]) == ""


def test_every_id_has_bytes_and_the_single_bytes_are_all_there():
    content, ends = cl100k._vocabulary()
    tokens = [content[start:end] for start, end in pairwise(ends)]
    assert len(tokens) == len(set(tokens)) == cl100k.SIZE
    assert all(tokens)
    assert {bytes([byte]) for byte in range(256)} <= set(tokens)
    assert ends[-1] == len(content)


def test_a_character_cut_in_two_is_marked_and_nothing_else_is_lost():
    content, ends = cl100k._vocabulary()
    ids = {content[start:end]: index for index, (start, end) in enumerate(pairwise(ends))}
    whole = [ids[bytes([byte])] for byte in "é".encode()]
    assert cl100k.decode(whole) == "é"
    assert cl100k.decode([*whole, whole[0]]) == "é\N{REPLACEMENT CHARACTER}"


def test_another_vocabulary_is_not_packed():
    with pytest.raises(ValueError, match="cl100k_base has"):
        pack(b"aGVsbG8= 0\n")
