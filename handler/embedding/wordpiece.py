"""Text to WordPiece token IDs, word by word: those of `tokenizers` in a tenth of its time, and in bounded memory.

A BERT tokenizer splits a text at white space and around punctuation, and then splits each word independently: a text's
IDs are those of its words, and most words occur again and again. Only texts that are not ASCII need the `tokenizers`
package, for the rules by which Unicode is normalized and split.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

# ASCII without the control characters that BERT's normalizer removes.
ASCII_TEXT = re.compile(r"[\t\n\r -~]*")
ASCII_WORD = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
# Longer texts that are not ASCII are split in parts, until they must be too long: four million bytes of Chinese would
# take 3.3 seconds and 625 MB at once.
MAX_PART_CHARACTERS = 1 << 14
CHINESE = "\u4e00-\u9fff"
# Tokens that are found in a text by their characters alone.
PLAIN_TOKEN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
# Longer entries and words are rare. At these limits the cache takes at most 35 MB: per character 4 bytes in the key
# and 8 for a token ID, and per word 252 for object headers and a slot of a hash table that has just grown.
MAX_CACHED_WORDS, MAX_CACHED_CHARACTERS = 1 << 16, 24


class CachedWordPiece(dict[str, tuple[int, ...]]):
    """A cache from words, and single punctuation characters, to their token IDs.

    Words longer than MAX_CACHED_CHARACTERS are not cached, and the cache is cleared when it has MAX_CACHED_WORDS.
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        unknown: str,
        max_word: int,
        special: dict[str, int],
        normalizer: dict[str, Any],
    ) -> None:
        """Take a vocabulary, in which pieces within a word begin with ##.

        unknown     the entry for a word that has no pieces, or more than `max_word` characters
        special     tokens that a text may contain as they are, such as [MASK]
        normalizer  options of BertNormalizer
        """
        self._vocabulary = vocabulary
        self.vocabulary_size = len(vocabulary) + sum(token not in vocabulary for token in special)
        self._unknown = (vocabulary[unknown],)
        self._max_word = max_word
        self._special = special
        longest_first = sorted(special, key=len, reverse=True)
        self._special_tokens = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        self._normalizer = normalizer
        self._lowercase: bool = normalizer["lowercase"]

    @classmethod
    def from_definition(cls, definition: dict[str, Any]) -> "CachedWordPiece | None":
        """Read a tokenizer.json; return None unless it is a BERT tokenizer."""
        match definition:
            case {
                "normalizer": {"type": "BertNormalizer", "clean_text": True} as normalizer,
                "pre_tokenizer": {"type": "BertPreTokenizer"},
                "model": {
                    "type": "WordPiece",
                    "vocab": vocabulary,
                    "unk_token": unknown,
                    "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": max_word,
                },
                "added_tokens": added,
            } if all(PLAIN_TOKEN.items() <= token.items() for token in added):
                special = {token["content"]: token["id"] for token in added}
                options = {name: value for name, value in normalizer.items() if name != "type"}
                return cls(vocabulary, unknown, max_word, special, options)
            case _:
                return None

    def encode(self, text: str, limit: int) -> list[int]:
        """Return a text's token IDs; stop when there are more than `limit`."""
        if self._special_tokens.search(text) is None:
            return self._encode_words(text, limit)
        token_ids: list[int] = []
        for position, part in enumerate(self._special_tokens.split(text)):  # special tokens are at the odd positions
            token_ids += [self._special[part]] if position % 2 else self._encode_words(part, limit)
            if len(token_ids) > limit:
                break
        return token_ids

    def _encode_words(self, text: str, limit: int) -> list[int]:
        words: Iterable[str]
        if ASCII_TEXT.fullmatch(text):
            words = ASCII_WORD.findall(text.lower() if self._lowercase else text)
        elif len(text) <= MAX_PART_CHARACTERS:
            words = self._split_text(text)
        else:
            words = chain.from_iterable(self._split_text(part[0]) for part in self._parts.finditer(text))
        if len(text) <= limit:  # a token has at least one character
            return list(chain.from_iterable(map(self.__getitem__, words)))
        return look_up(self, words, limit)

    def _split_text(self, text: str) -> list[str]:
        normalized = self._bert_normalizer.normalize_str(text)
        return [word for word, _ in self._bert_pre_tokenizer.pre_tokenize_str(normalized)]

    @cached_property
    def _parts(self) -> re.Pattern[str]:
        """Match a part of a text that ends before white space or, if it is a word, before a Chinese character."""
        chinese = CHINESE if self._normalizer["handle_chinese_chars"] else ""
        return re.compile(rf"(?s:.){{1,{MAX_PART_CHARACTERS}}}[^ \t\n\r{chinese}]*")

    @cached_property
    def _bert_normalizer(self) -> "BertNormalizer":
        # Not at the top: the import takes a sixtieth of a cold start. Not from the submodule: if another thread is
        # importing tokenizers, both imports would fail.
        from tokenizers import normalizers

        return normalizers.BertNormalizer(**self._normalizer)

    @cached_property
    def _bert_pre_tokenizer(self) -> "BertPreTokenizer":
        from tokenizers import pre_tokenizers

        return pre_tokenizers.BertPreTokenizer()

    def __missing__(self, word: str) -> tuple[int, ...]:
        """Split a word, and cache it unless it is long."""
        if len(word) > self._max_word:
            return self._unknown
        if len(word) > MAX_CACHED_CHARACTERS:
            return self._split_word(word, self._max_piece)
        if len(self) >= MAX_CACHED_WORDS:
            self.clear()
        pieces = self[word] = self._split_word(word, len(word))
        return pieces

    def _split_word(self, word: str, max_piece: int) -> tuple[int, ...]:
        """Split a word, from its start, into the longest pieces of the vocabulary (Wu et al. 2016, section 4.1).

        No piece is longer than `max_piece`, so the search for one takes a bounded time.
        """
        if not word.isascii() and not self._characters.issuperset(word):
            return self._unknown  # otherwise a hundred characters before the unknown one would cost as many searches
        pieces: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            for end in range(min(len(word), start + max_piece), start, -1):
                piece = self._vocabulary.get(prefix + word[start:end])
                if piece is not None:
                    pieces.append(piece)
                    start, prefix = end, "##"
                    break
            else:
                return self._unknown
        return tuple(pieces)

    @cached_property
    def _max_piece(self) -> int:
        """The length of the vocabulary's longest entry."""
        return max(map(len, self._vocabulary))

    @cached_property
    def _characters(self) -> frozenset[str]:
        """Every character that occurs in the vocabulary."""
        return frozenset("".join(self._vocabulary))


def look_up(cache: Mapping[str, tuple[int, ...]], words: Iterable[str], limit: int) -> list[int]:
    """Return the token IDs of words; stop when there are more than `limit`."""
    token_ids: list[int] = []
    for word in words:
        token_ids += cache[word]
        if len(token_ids) > limit:
            break
    return token_ids
