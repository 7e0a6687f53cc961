from itertools import pairwise

from handler.embedding import cl100k


def test_decode_inverts_openais_tokenizer():
    assert cl100k.decode([15339, 1917]) == "hello world"
    assert cl100k.decode([]) == ""


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
