"""CachedWordPiece gives the same token IDs as the `tokenizers` library."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from handler.embedding.wordpiece import MAX_CACHED_CHARACTERS, MAX_PART_CHARACTERS, CachedWordPiece
from model_artifacts.recipe.golden import Golden

FOLDER = Path(__file__).parents[3] / "model_artifacts/all-MiniLM-L6-v2"
TOKENIZER = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()
DEFINITION = (FOLDER / "tokenizer.json").read_bytes()


def load_wordpiece() -> CachedWordPiece:
    wordpiece = CachedWordPiece.from_definition(orjson.loads(DEFINITION))
    assert wordpiece is not None  # an empty cache is falsy
    return wordpiece


WORDPIECE = load_wordpiece()
NO_LIMIT = 1 << 30
LOWERCASE = {"lowercase": True}

SEPARATORS = st.sampled_from([" ", "\t", "\n", "\r\n", "", "-", "...", "'", "_", "\\", "^", "`", "~", "@", "[", "]"])
PIECES = st.sampled_from(
    ["the", "Hello", "embeddings", "x" * 99, "x" * 100, "x" * 101, "3", "1999", "a1b2", "##ing", "SEP"]
)
ALPHABETS = (
    st.characters(max_codepoint=127)
    | st.characters(codec="utf-8")
    | st.sampled_from("\u0301\u4e2d\ufdfa\u00a0\u200b\u2014\U0001f600\u0130")
)


def expected(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text, add_special_tokens=False).ids
    return ids


@given(st.text(st.characters(max_codepoint=127), max_size=200) | st.text(ALPHABETS, max_size=100))
@settings(max_examples=1000, deadline=None)
def test_encode_matches_tokenizers_for_any_text(text):
    assert WORDPIECE.encode(text, NO_LIMIT) == expected(text)


@given(st.text(ALPHABETS, min_size=4, max_size=60))
@settings(max_examples=1000, deadline=None)
def test_a_long_text_has_the_same_tokens_part_by_part(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("handler.embedding.wordpiece.MAX_PART_CHARACTERS", 3)
        assert load_wordpiece().encode(text, NO_LIMIT) == expected(text)


def test_a_text_is_split_until_it_must_be_too_long(monkeypatch):
    wordpiece, parts = load_wordpiece(), []
    split = wordpiece._split_text

    def record(part: str) -> list[str]:
        parts.append(part)
        return split(part)

    monkeypatch.setattr(wordpiece, "_split_text", record)
    assert len(wordpiece.encode("\u4e2d\u6587" * 100_000, 512)) > 512
    assert list(map(len, parts)) == [MAX_PART_CHARACTERS]


@given(st.lists(st.tuples(PIECES, SEPARATORS), max_size=30))
@settings(max_examples=500, deadline=None)
def test_encode_matches_tokenizers_for_words_punctuation_and_white_space(pieces):
    text = "".join(word + separator for word, separator in pieces)
    assert WORDPIECE.encode(text, NO_LIMIT) == expected(text)


@given(st.text(ALPHABETS, max_size=100), st.integers(0, 40))
def test_encode_stops_early_but_not_below_the_limit(text, limit):
    ids, all_ids = WORDPIECE.encode(text, limit), expected(text)
    assert ids == all_ids[: len(ids)]
    assert len(ids) == len(all_ids) or len(ids) > limit


def test_encode_matches_tokenizers_for_the_golden_texts():
    for text in Golden.read(FOLDER / "golden.json").texts:
        assert WORDPIECE.encode(text, NO_LIMIT) == expected(text)


@pytest.mark.parametrize("start", range(0, 0x110000, 0x1000))
def test_encode_matches_tokenizers_for_every_character_within_and_between_words(start):
    """Test 4096 code points at a time, except surrogates, which are not valid in text."""
    characters = [chr(code) for code in range(start, start + 0x1000) if not 0xD800 <= code < 0xE000]
    text = "".join(f"one{character}two {character} three\n" for character in characters)
    assert WORDPIECE.encode(text, NO_LIMIT) == expected(text)


@pytest.mark.parametrize(
    "text", ["[CLS] a", "a[MASK]b", "[[SEP]]", "[cls]", "[MASK][MASK]", "[MAS", "\u00e9[PAD]\u00e9"]
)
def test_encode_recognizes_special_tokens_in_a_text(text):
    assert WORDPIECE.encode(text, NO_LIMIT) == expected(text)


def test_encode_prefers_the_longer_special_token():
    special = {"[MASK]": 8, "[MASK]s": 9}
    assert CachedWordPiece({"[UNK]": 7}, "[UNK]", 100, special, LOWERCASE).encode("[MASK]s", NO_LIMIT) == [9]


def test_encode_does_not_process_a_long_text_beyond_the_limit():
    word = "ab1" * 30
    WORDPIECE.clear()
    assert len(WORDPIECE.encode(" ".join(f"{number}z" for number in range(10_000)), 100)) < 110
    assert len(WORDPIECE) < 110
    assert len(WORDPIECE.encode(f"{word} " * 700, 254)) < 400
    assert len(WORDPIECE.encode("[MASK]" * 700, 254)) == 255


def test_cache_is_limited_in_bytes(monkeypatch):
    words = 1 << 12  # a power of two, as MAX_CACHED_WORDS, so that the hash table has just grown
    monkeypatch.setattr("handler.embedding.wordpiece.MAX_CACHED_WORDS", words)
    wordpiece = load_wordpiece()
    wordpiece.encode("\u00e9", NO_LIMIT)  # loads the normalizer
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(2 * words):  # the longest cached words: one token and four bytes in the key per character
        wordpiece.encode("\U00010300" * (MAX_CACHED_CHARACTERS - 8) + f"q{number:07}", NO_LIMIT)
        wordpiece.encode("qz" * (MAX_CACHED_CHARACTERS // 2 - 4) + f"q{number:07}", NO_LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < len(wordpiece) <= words
    assert 65_536 * (peak - before) / words < 35.4e6


def test_cache_skips_long_words():
    wordpiece = load_wordpiece()
    wordpiece.encode("x" * (MAX_CACHED_CHARACTERS + 1) + " " + "y" * 65_000, NO_LIMIT)
    assert not wordpiece


def test_word_without_pieces_becomes_the_unknown_token():
    assert CachedWordPiece({"[UNK]": 7, "a": 1}, "[UNK]", 100, {}, LOWERCASE).encode("x" * 101, 9) == [7]
    assert CachedWordPiece({"[UNK]": 7, "a": 1}, "[UNK]", 100, {}, LOWERCASE).encode("a" * 99 + " \u00e9", 9) == [7, 7]
    assert CachedWordPiece({"[UNK]": 7, "a": 1, "##a": 2}, "[UNK]", 100, {}, LOWERCASE).encode("aaa b", 9) == [
        1,
        2,
        2,
        7,
    ]


def test_cased_tokenizer_preserves_upper_case():
    definition = orjson.loads(DEFINITION)
    definition["normalizer"]["lowercase"] = False
    cased = Tokenizer.from_str(orjson.dumps(definition).decode())
    cased.no_truncation()
    cased.no_padding()
    wordpiece = CachedWordPiece.from_definition(definition)
    assert wordpiece is not None
    for text in ("Hello World", "caf\u00c9 HELLO [CLS]"):
        assert wordpiece.encode(text, NO_LIMIT) == cased.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("normalizer", {"type": "Lowercase"}),
        ("normalizer", {"type": "BertNormalizer", "clean_text": False}),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("added_tokens", [{"content": "new york", "normalized": True}]),
    ],
)
def test_from_definition_returns_none_for_other_tokenizers(part, other):
    assert CachedWordPiece.from_definition({**orjson.loads(DEFINITION), part: other}) is None


def test_first_text_that_needs_tokenizers_may_come_while_another_model_imports_it():
    code = """
import sys, threading, time
import orjson
from handler.embedding.wordpiece import CachedWordPiece

wordpiece = CachedWordPiece.from_definition(orjson.loads(open(sys.argv[1], "rb").read()))
importing, errors = threading.Event(), []
threading.excepthook = lambda failed: errors.append(repr(failed.exc_value))

class Slow:
    def find_spec(name, path=None, target=None):
        if name == "tokenizers.implementations":  # which imports tokenizers.normalizers
            importing.set()
            time.sleep(0.2)

sys.meta_path.insert(0, Slow)
other = threading.Thread(target=lambda: __import__("tokenizers"))
other.start()
assert importing.wait(10)
ids = wordpiece.encode("sch\u00f6n", 10)
other.join()
print(len(ids), errors)
"""
    command = [sys.executable, "-c", code, str(FOLDER / "tokenizer.json")]
    printed = subprocess.check_output(command, text=True, cwd=FOLDER.parents[1], timeout=60)
    assert printed == f"{len(expected('schön'))} []\n"
