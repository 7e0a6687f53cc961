"""CachedWordPiece gives the same token ids as the `tokenizers` library."""

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


def build() -> CachedWordPiece:
    word_piece = CachedWordPiece.from_definition(DEFINITION)
    assert word_piece is not None  # while its cache is empty, its truth value is False
    return word_piece


WORD_PIECE = build()

SEPARATORS = st.sampled_from([" ", "\t", "\n", "\r\n", "", "-", "...", "'", "_", "\\", "^", "`", "~", "@", "[", "]"])
PIECES = st.sampled_from(
    ["the", "Hello", "embeddings", "x" * 99, "x" * 100, "x" * 101, "3", "1999", "a1b2", "##ing", "SEP"]
)


def expected(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text).ids
    return ids


@given(st.text(st.characters(max_codepoint=127), max_size=200) | st.text(max_size=50))
@settings(max_examples=1000, deadline=None)
def test_encode_gives_the_tokenizers_ids_or_none_for_any_text(text):
    assert WORD_PIECE.encode(text) in (None, expected(text))


@given(st.lists(st.tuples(PIECES, SEPARATORS), max_size=30))
@settings(max_examples=500, deadline=None)
def test_encode_splits_words_punctuation_and_white_space_like_the_tokenizer(pieces):
    text = "".join(word + separator for word, separator in pieces)
    ids = WORD_PIECE.encode(text)
    assert (ids is None) == ("[" in text)
    assert ids in (None, expected(text))


def test_encode_gives_the_tokenizers_ids_for_the_golden_texts():
    texts = Golden.read(FOLDER / "golden.json").texts
    found = [WORD_PIECE.encode(text) for text in texts]
    assert all(ids in (None, expected(text)) for ids, text in zip(found, texts, strict=True))
    assert sum(ids is not None for ids in found) > len(texts) / 2


@pytest.mark.parametrize("character", range(256))
def test_encode_gives_the_tokenizers_ids_or_none_for_every_separator(character):
    text = f"one{chr(character)}two {chr(character)} three"
    assert WORD_PIECE.encode(text) in (None, expected(text))


@pytest.mark.parametrize("text", ["[CLS] a", "caf\u00e9", "a\x00b", "a\x7fb", "\u4e2d", "a\u200bb", "a\x0bb"])
def test_encode_leaves_text_outside_plain_ascii_to_the_tokenizer(text):
    assert WORD_PIECE.encode(text) is None


def test_cache_size_is_bounded(monkeypatch):
    monkeypatch.setattr("handler.embedding.wordpiece.MAX_CACHED_WORDS", 10)
    word_piece = build()
    for number in range(100):
        assert word_piece.encode(f"word{number}") == expected(f"word{number}")
        assert len(word_piece) <= 10


def test_words_without_pieces_become_the_unknown_token():
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
def test_from_definition_accepts_only_uncased_bert_tokenizers(part, other):
    assert CachedWordPiece.from_definition(orjson.dumps({**orjson.loads(DEFINITION), part: other})) is None
