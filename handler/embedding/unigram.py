"""Text to Unigram token IDs, word by word: those of `tokenizers`, without its copy of a large vocabulary.

XLM-RoBERTa and the models made from it read texts so (Kudo 2018): a word's pieces are those of the highest total score.
No piece crosses a space, so a text's IDs are those of its words, and most words occur again and again. A quarter of a
million pieces take `tokenizers` a second and 300 MB to load; here it only normalizes texts and splits them into words.
"""

import math
import re
from array import array
from functools import cached_property
from itertools import chain, groupby, pairwise
from typing import TYPE_CHECKING, Any

import orjson

from handler.embedding.wordpiece import MAX_CACHED_CHARACTERS, MAX_CACHED_WORDS, look_up

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFaceTokenizer

SPACE = "\u2581"  # what SentencePiece writes for a space, which begins every word
UNKNOWN_PENALTY = 10.0  # under the lowest score, as in `tokenizers` (K_UNK_PENALTY) and SentencePiece
# Words of printable ASCII with one space between them.
ASCII_TEXT = re.compile(r"[!-~]+(?: [!-~]+)*")
ASCII_CHARACTERS = " ".join(map(chr, range(0x21, 0x7F)))
# Normalizers that change neither a printable ASCII character nor a single space, except by a table of characters.
CHARACTER_NORMALIZERS = {"Precompiled", "NFC", "NFD", "NFKC", "NFKD"}
PLAIN_TOKEN = {"single_word": False, "rstrip": False, "normalized": False}


class CachedUnigram(dict[str, tuple[int, ...]]):
    """A cache from words, each with the SPACE before it, to their token IDs.

    Words longer than MAX_CACHED_CHARACTERS are not cached, and the cache is cleared when it has MAX_CACHED_WORDS.
    """

    def __init__(self, definition: dict[str, Any]) -> None:
        """Take a tokenizer.json that `from_definition` has found to be supported."""
        model = definition["model"]
        # Copies: the pieces of the definition lie between its other objects, whose memory would not be freed (20 MB).
        self._ids = {piece.encode().decode(): number for number, (piece, _) in enumerate(model["vocab"])}
        self._scores = array("d", (score for _, score in model["vocab"]))
        self._unknown: int = model["unk_id"]
        self._unknown_score = min(self._scores) - UNKNOWN_PENALTY
        self._longest: dict[str, int] = {}  # length of the longest piece that begins with a character
        for piece in self._ids:
            self._longest[piece[:1]] = max(len(piece), self._longest.get(piece[:1], 1))
        added = definition["added_tokens"]
        self._special = {token["content"]: token["id"] for token in added}
        self.vocabulary_size = len(self._ids) + sum(token not in self._ids for token in self._special)
        longest_first = sorted(added, key=lambda token: len(token["content"]), reverse=True)
        self._special_tokens = re.compile("|".join(map(_special_token, longest_first)) or "(?!)")
        self._normalization = {
            "normalizer": definition["normalizer"],
            "pre_tokenizer": definition["pre_tokenizer"],
            "model": {"type": "Unigram", "vocab": [["", 0.0]], "unk_id": 0},
        }

    @classmethod
    def from_definition(cls, definition: dict[str, Any]) -> "CachedUnigram | None":
        """Read a tokenizer.json; return None unless it is a Unigram tokenizer that splits texts at spaces."""
        match definition:
            case {
                "model": {"type": "Unigram", "unk_id": int(), "vocab": [_, *_]} as model,
                "pre_tokenizer": {"type": _} as pre_tokenizer,
                "added_tokens": added,
            } if (
                not model.get("byte_fallback")
                and _splits_at_spaces(pre_tokenizer)
                and all(PLAIN_TOKEN.items() <= token.items() for token in added)
            ):
                return cls(definition)
            case _:
                return None

    def encode(self, text: str, limit: int) -> list[int]:
        """Return a text's token IDs; stop when there are more than `limit`."""
        token_ids: list[int] = []
        end = 0
        for special in self._special_tokens.finditer(text):
            token_ids += self._encode_words(text[end : special.start()], limit)
            if len(token_ids) > limit:
                return token_ids
            token_ids.append(self._special[special[special.lastindex or 0]])
            end = special.end()
        return token_ids + self._encode_words(text[end:], limit)

    def _encode_words(self, text: str, limit: int) -> list[int]:
        if self._keeps_ascii and ASCII_TEXT.fullmatch(text):
            words = [SPACE + word for word in text.split(" ")]
        else:
            normalized = self._splitter.normalizer.normalize_str(text) if self._splitter.normalizer else text
            words = [word for word, _ in self._splitter.pre_tokenizer.pre_tokenize_str(normalized)]
        if len(text) <= limit:
            return list(chain.from_iterable(map(self.__getitem__, words)))
        return look_up(self, words, limit)

    @cached_property
    def _splitter(self) -> "HuggingFaceTokenizer":
        """A tokenizer that normalizes and splits texts as the model's own does, without its vocabulary."""
        from tokenizers import Tokenizer as HuggingFaceTokenizer  # not at the top: most models never need it

        return HuggingFaceTokenizer.from_buffer(orjson.dumps(self._normalization))

    @cached_property
    def _keeps_ascii(self) -> bool:
        """Whether the normalizer leaves printable ASCII as it is."""
        normalizer = self._normalization["normalizer"]
        steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
        if not all(step["type"] in CHARACTER_NORMALIZERS for step in steps):
            return False
        return not steps or self._splitter.normalizer.normalize_str(ASCII_CHARACTERS) == ASCII_CHARACTERS

    def __missing__(self, word: str) -> tuple[int, ...]:
        """Split a word, and cache it unless it is long."""
        pieces = self._split_word(word)
        if len(word) <= MAX_CACHED_CHARACTERS:
            if len(self) >= MAX_CACHED_WORDS:
                self.clear()
            self[word] = pieces
        return pieces

    def _split_word(self, word: str) -> tuple[int, ...]:
        """Return the pieces of the highest total score, by the algorithm of Viterbi (1967).

        As in `tokenizers`, the path that was found first wins a tie, an unknown character has a score of its own, and
        neighbouring unknown characters are one piece.
        """
        ids, scores, longest = self._ids, self._scores, self._longest
        best = [0.0] + [-math.inf] * len(word)
        starts = [0] * (len(word) + 1)
        for start, character in enumerate(word):
            score = best[start]
            for end in range(start + 1, min(len(word), start + longest.get(character, 0)) + 1):
                piece = ids.get(word[start:end])
                if piece is not None and score + scores[piece] > best[end]:
                    best[end], starts[end] = score + scores[piece], start
            if character not in ids and score + self._unknown_score > best[start + 1]:
                best[start + 1], starts[start + 1] = score + self._unknown_score, start
        ends = [len(word)]
        while ends[-1]:
            ends.append(starts[ends[-1]])
        path = [word[start:end] for start, end in pairwise(reversed(ends))]
        pieces: list[int] = []
        for known, run in groupby(path, self._is_known):
            if known:
                pieces += map(ids.__getitem__, run)
            else:
                pieces.append(ids.get("".join(run), self._unknown))
        return tuple(pieces)

    def _is_known(self, piece: str) -> bool:
        return self._ids.get(piece, self._unknown) != self._unknown


def _special_token(token: dict[str, Any]) -> str:
    """Return the pattern of a special token; with `lstrip`, white space before it belongs to it."""
    # From the start of the white space only: the search would otherwise start again at each of its characters.
    space = r"(?:(?<!\s)\s++)?+" if token["lstrip"] else ""
    return f"{space}({re.escape(token['content'])})"


def _splits_at_spaces(pre_tokenizer: dict[str, Any]) -> bool:
    """Return whether every word, the first one too, begins with SPACE, and no other part of a text does."""
    *others, last = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return (
        all(step["type"] == "WhitespaceSplit" for step in others)
        and last["type"] == "Metaspace"
        and last["replacement"] == SPACE
        and last.get("prepend_scheme", "always") == "always"
        and bool(last.get("add_prefix_space", True))
        and bool(last.get("split", True))
    )
