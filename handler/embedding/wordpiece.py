"""ASCII text to WordPiece token ids, word by word: the ids of `tokenizers` in a tenth of its time.

The `tokenizers` package need not be loaded for them.
"""

import re
from itertools import chain

import orjson

# ASCII without the control characters that a BERT tokenizer removes, and without the bracket that begins every special
# token.
ASCII_TEXT = re.compile(r"[\t\n\r -Z\\-~]*")
WORD = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
MAX_CACHED_WORDS = 1 << 16  # some 15 MB


class CachedWordPiece(dict[str, list[int]]):
    """A cache from lower-case words, and single punctuation characters, to their token ids.

    A BERT tokenizer splits a text at white space and around punctuation, and then splits each word independently: a
    text's ids are those of its words, and most words occur again and again.
    """

    def __init__(self, vocabulary: dict[str, int], unknown: int, longest: int, special: tuple[int, int]) -> None:
        """Take a vocabulary, in which pieces within a word begin with ##.

        A word that has no pieces, or more than `longest` characters, becomes `unknown`; `special` enclose a text.
        """
        self._vocabulary = vocabulary
        self._unknown = unknown
        self._longest = longest
        self._opening, self._closing = special

    @classmethod
    def from_definition(cls, definition: bytes) -> "CachedWordPiece | None":
        """Read the bytes of a tokenizer.json; return None unless it is an uncased BERT tokenizer.

        Raises:
            ValueError: it is not JSON.
        """
        match orjson.loads(definition):
            case {
                "normalizer": {"type": "BertNormalizer", "lowercase": True},
                "pre_tokenizer": {"type": "BertPreTokenizer"},
                "model": {
                    "type": "WordPiece",
                    "vocab": vocabulary,
                    "unk_token": unknown,
                    "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": longest,
                },
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": opening}}, {"Sequence": _}, {"SpecialToken": {"id": closing}}],
                    "special_tokens": special,
                },
                "added_tokens": added,
            } if all(token["content"].startswith("[") for token in added):
                (first,), (last,) = special[opening]["ids"], special[closing]["ids"]
                return cls(vocabulary, vocabulary[unknown], longest, (first, last))
            case _:
                return None

    def encode(self, text: str) -> list[int] | None:
        """Return a text's ids, special tokens included, or None if it is not ASCII text."""
        if ASCII_TEXT.fullmatch(text) is None:
            return None
        words = WORD.findall(text.lower())
        return [self._opening, *chain.from_iterable(map(self.__getitem__, words)), self._closing]

    def __missing__(self, word: str) -> list[int]:
        """Split a word, from its start, into the longest pieces of the vocabulary (Wu et al. 2016, section 4.1)."""
        if len(self) >= MAX_CACHED_WORDS:
            self.clear()
        pieces = self[word] = self._pieces(word)
        return pieces

    def _pieces(self, word: str) -> list[int]:
        if len(word) > self._longest:
            return [self._unknown]
        pieces: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = self._vocabulary.get(prefix + word[start:end])
                if piece is not None:
                    pieces.append(piece)
                    start, prefix = end, "##"
                    break
            else:
                return [self._unknown]
        return pieces
