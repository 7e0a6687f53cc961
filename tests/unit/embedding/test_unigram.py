"""CachedUnigram gives the same token IDs as the `tokenizers` library."""

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from handler.embedding.unigram import SPACE, CachedUnigram
from handler.embedding.wordpiece import MAX_CACHED_CHARACTERS, MAX_CACHED_WORDS
from model_artifacts.recipe.golden import Golden

TEXTS = Golden.read(Path(__file__).parents[3] / "model_artifacts/all-MiniLM-L6-v2/golden.json").texts
NO_LIMIT = 1 << 30
METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}
MASK = {"content": "<mask>", "single_word": False, "lstrip": True, "rstrip": False, "normalized": False}


def train() -> dict[str, Any]:
    """Return the definition of a tokenizer that was trained on the golden texts, in the layout of XLM-RoBERTa's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=900, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    definition: dict[str, Any] = orjson.loads(tokenizer.to_str())
    definition["added_tokens"].append({"id": len(definition["model"]["vocab"]), "special": True, **MASK})
    return definition


DEFINITION = train()
# XLM-RoBERTa's layout; words by Metaspace alone, so that several spaces are several words; ASCII is not kept.
VARIANTS = [
    DEFINITION,
    DEFINITION | {"pre_tokenizer": METASPACE, "normalizer": None},
    DEFINITION | {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}},
]
TOKENIZERS = [Tokenizer.from_buffer(orjson.dumps(definition)) for definition in VARIANTS]


def load_unigram(definition: dict[str, Any]) -> CachedUnigram:
    unigram = CachedUnigram.from_definition(definition)
    assert unigram is not None  # an empty cache is falsy
    return unigram


UNIGRAMS = [load_unigram(definition) for definition in VARIANTS]
PIECES = st.sampled_from([piece.replace(SPACE, " ") for piece, _ in DEFINITION["model"]["vocab"]])
CHARACTERS = st.characters(max_codepoint=127) | st.characters(codec="utf-8")
SPECIAL = st.sampled_from(["<mask>", " <mask>", " \t\n <mask>", "<s>", "</s>", "<unk>", "<pad>", "<mas", SPACE, "  "])


@given(st.lists(PIECES | st.text(CHARACTERS, max_size=20) | SPECIAL, max_size=20).map("".join))
@settings(max_examples=1000, deadline=None)
def test_encode_matches_tokenizers_for_any_text(text):
    for unigram, tokenizer in zip(UNIGRAMS, TOKENIZERS, strict=True):
        assert unigram.encode(text, NO_LIMIT) == tokenizer.encode(text, add_special_tokens=False).ids


@given(st.lists(PIECES | st.text(CHARACTERS, max_size=20) | SPECIAL, max_size=20).map("".join), st.integers(0, 40))
def test_encode_stops_early_but_not_below_the_limit(text, limit):
    ids, all_ids = UNIGRAMS[0].encode(text, limit), TOKENIZERS[0].encode(text, add_special_tokens=False).ids
    assert ids == all_ids[: len(ids)]
    assert len(ids) == len(all_ids) or len(ids) > limit


@pytest.mark.parametrize("index", range(len(VARIANTS)))
def test_encode_matches_tokenizers_for_the_golden_texts(index):
    for text in TEXTS:
        assert UNIGRAMS[index].encode(text, NO_LIMIT) == TOKENIZERS[index].encode(text, add_special_tokens=False).ids


def test_vocabulary_size_is_that_of_tokenizers():
    assert UNIGRAMS[0].vocabulary_size == TOKENIZERS[0].get_vocab_size() == len(DEFINITION["model"]["vocab"]) + 1


def test_words_of_ascii_are_not_normalized(monkeypatch):
    monkeypatch.setattr("tokenizers.Tokenizer", None)
    assert load_unigram(VARIANTS[1]).encode("one two", NO_LIMIT) == UNIGRAMS[1].encode("one two", NO_LIMIT)


def test_encode_reads_white_space_without_a_special_token_once():
    spaces = " " * 100_000  # a second per 10,000 of them if every space began a search
    assert UNIGRAMS[0].encode(f"a{spaces}b", NO_LIMIT) == UNIGRAMS[0].encode("a b", NO_LIMIT)


def test_cache_is_bounded(monkeypatch):
    unigram = load_unigram(DEFINITION)
    unigram.encode("x" * (MAX_CACHED_CHARACTERS - 1), NO_LIMIT)
    assert len(unigram) == 1
    unigram.encode("x" * MAX_CACHED_CHARACTERS, NO_LIMIT)
    assert len(unigram) == 1
    monkeypatch.setattr("handler.embedding.unigram.MAX_CACHED_WORDS", 1024)
    for number in range(3000):
        unigram.encode(f"{number:023}", NO_LIMIT)
        assert len(unigram) <= 1024
    while len(unigram) < 1024:
        unigram.encode(f"{len(unigram):023}", NO_LIMIT)
    size = sys.getsizeof(unigram) + sum(sys.getsizeof(each) for entry in unigram.items() for each in entry)
    assert size * MAX_CACHED_WORDS / 1024 < 35e6


@pytest.mark.parametrize(
    "change",
    [
        {"model": DEFINITION["model"] | {"byte_fallback": True}},
        {"model": DEFINITION["model"] | {"unk_id": None}},
        {"pre_tokenizer": METASPACE | {"prepend_scheme": "first"}},
        {"pre_tokenizer": METASPACE | {"prepend_scheme": "never"}},
        {"pre_tokenizer": METASPACE | {"replacement": "_"}},
        {"pre_tokenizer": METASPACE | {"split": False}},
        {"pre_tokenizer": {"type": "WhitespaceSplit"}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [METASPACE, METASPACE]}},
        {"pre_tokenizer": None},
        {"added_tokens": [MASK | {"id": 9, "normalized": True}]},
    ],
)
def test_another_tokenizer_is_not_supported(change):
    assert CachedUnigram.from_definition(DEFINITION | change) is None
