"""Word by word or all at once: the token ids are those of `tokenizers`."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from handler.embedding.wordpiece import CachedWordPiece
from model_artifacts.recipe.golden import Golden

FOLDER = Path(__file__).parents[3] / "model_artifacts/all-MiniLM-L6-v2"
TOKENIZER = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()
DEFINITION = (FOLDER / "tokenizer.json").read_bytes()


def read() -> CachedWordPiece:
    found = CachedWordPiece.from_definition(DEFINITION)
    assert found is not None  # an empty table is false
    return found


WORDS = read()

SEPARATORS = st.sampled_from([" ", "\t", "\n", "\r\n", "", "-", "...", "'", "_", "\\", "^", "`", "~", "@", "[", "]"])
PIECES = st.sampled_from(
    ["the", "Hello", "embeddings", "x" * 99, "x" * 100, "x" * 101, "3", "1999", "a1b2", "##ing", "SEP"]
)


def expected(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text).ids
    return ids


@given(st.text(st.characters(max_codepoint=127), max_size=200) | st.text(max_size=50))
@settings(max_examples=1000, deadline=None)
def test_any_text_has_the_tokenizers_own_ids_or_none(text):
    assert WORDS.encode(text) in (None, expected(text))


@given(st.lists(st.tuples(PIECES, SEPARATORS), max_size=30))
@settings(max_examples=500, deadline=None)
def test_words_punctuation_and_white_space_are_split_as_the_tokenizer_does(pieces):
    text = "".join(word + separator for word, separator in pieces)
    ids = WORDS.encode(text)
    assert (ids is None) == ("[" in text)
    assert ids in (None, expected(text))


def test_the_golden_texts_have_the_tokenizers_own_ids():
    texts = Golden.read(FOLDER / "golden.json").texts
    found = [WORDS.encode(text) for text in texts]
    assert all(ids in (None, expected(text)) for ids, text in zip(found, texts, strict=True))
    assert sum(ids is not None for ids in found) > len(texts) / 2


@pytest.mark.parametrize("character", range(256))
def test_every_byte_between_words(character):
    text = f"one{chr(character)}two {chr(character)} three"
    assert WORDS.encode(text) in (None, expected(text))


@pytest.mark.parametrize("text", ["[CLS] a", "caf\u00e9", "a\x00b", "a\x7fb", "\u4e2d", "a\u200bb", "a\x0bb"])
def test_what_is_not_plain_is_left_to_the_tokenizer(text):
    assert WORDS.encode(text) is None


def test_the_table_stays_bounded(monkeypatch):
    monkeypatch.setattr("handler.embedding.wordpiece.MAX_CACHED_WORDS", 10)
    table = read()
    for number in range(100):
        assert table.encode(f"word{number}") == expected(f"word{number}")
        assert len(table) <= 10


def test_words_with_no_pieces_are_unknown():
    for word in ("x" * 101, "\u00e9", "a" * 99):
        assert CachedWordPiece({"[UNK]": 7, "a": 1}, 7, 100, (0, 9)).encode(word) == (
            [0, 7, 9] if word.isascii() else None
        )
    assert CachedWordPiece({"[UNK]": 7, "a": 1, "##a": 2}, 7, 100, (0, 9)).encode("aaa b") == [0, 1, 2, 2, 7, 9]


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("normalizer", {"type": "Lowercase"}),
        ("normalizer", {"type": "BertNormalizer", "lowercase": False}),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("post_processor", None),
        ("added_tokens", [{"content": "new york"}]),
    ],
)
def test_only_an_uncased_bert_tokenizer_is_read_word_by_word(part, other):
    assert CachedWordPiece.from_definition(orjson.dumps({**orjson.loads(DEFINITION), part: other})) is None
