"""Texts or token IDs to token sequences that the model accepts, in bounded time and memory."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import orjson

from handler.embedding import cl100k
from handler.embedding.deadline import NO_DEADLINE, Deadline
from handler.embedding.wordpiece import CachedWordPiece
from handler.errors import RequestError
from handler.settings import LongInput, TokenInput

if TYPE_CHECKING:
    from handler.embedding.unigram import CachedUnigram

TokenIds = list[int]
WINDOW_HINT = "have the service set LONG_INPUT=window (the template's parameter LongInput) to read it in windows"

# For all inputs of a request together. Only decoded token IDs can exceed the first, because some stand for a hundred
# characters: the size of a body limits texts to as many. The second is 2048 inputs of 256 tokens.
MAX_REQUEST_CHARACTERS = 1 << 22
MAX_REQUEST_TOKENS = 1 << 19
# Of a text that is read in windows, special tokens around the windows not counted: what OpenAI accepts in an input. An
# input of token IDs has as many of OpenAI's at most (MAX_TOKEN_IDS), and may have more of the model's own.
MAX_INPUT_TOKENS = 8192
# Of a text that `tokenizers` reads, the beginning that is tried first: most languages have fewer characters per token.
CHARACTERS_PER_TOKEN = 8
SPACE_BETWEEN_WORDS, MAX_WORD = re.compile(r"(?<=\S) (?=\S)"), 1024


@dataclass(frozen=True, slots=True)
class Encoding:
    """One input as the model reads it.

    windows  its token sequence, or those of its windows
    long     whether it was too long and was truncated or split into windows
    """

    windows: list[TokenIds]
    long: bool = False


class Library:
    """A tokenizer of a kind that no word cache supports, as the package `tokenizers` reads it."""

    def __init__(self, definition: bytes) -> None:
        from tokenizers import Tokenizer as HuggingFaceTokenizer  # not at the top: most models never need it

        self._tokenizer = HuggingFaceTokenizer.from_buffer(definition)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.vocabulary_size: int = self._tokenizer.get_vocab_size()

    def encode(self, text: str, limit: int) -> TokenIds:
        """Return a text's token IDs; of a text that has more than `limit`, only those of a beginning.

        Otherwise four million characters would take 3.4 seconds and 720 MB. A beginning ends between two words, which
        have the same tokens without the rest; only if it has no space near its end, its last ones may be others.
        """
        end = CHARACTERS_PER_TOKEN * limit
        while end < len(text):
            spaces = [space.start() for space in SPACE_BETWEEN_WORDS.finditer(text, end - MAX_WORD, end)]
            token_ids = self._encode_all(text[: spaces[-1] if spaces else end])
            if len(token_ids) > limit:
                return token_ids
            end *= 2
        return self._encode_all(text)

    def _encode_all(self, text: str) -> TokenIds:
        token_ids: TokenIds = self._tokenizer.encode_batch_fast([text])[0].ids[1:-1]
        return token_ids

    def encode_special(self) -> TokenIds:
        """Return the IDs of the two tokens that enclose a text."""
        return self._tokenizer.encode("").ids


class Tokenizer:
    """A model's own tokenizer, with the policies for token IDs as input and for inputs that are too long."""

    def __init__(
        self, definition: bytes, max_tokens: int, token_input: TokenInput = "decode", long_input: LongInput = "window"
    ) -> None:
        """Build from the bytes of a tokenizer.json; `max_tokens` includes the special tokens.

        Raises:
            Exception: the definition cannot be read.
        """
        fields = orjson.loads(definition)
        words = _word_cache(fields)
        self._words = words if words is not None else Library(definition)
        opening, closing = _special_ids(fields) or Library(definition).encode_special()
        self._enclosing = [opening], [closing]
        self._max_tokens = max_tokens
        self._token_input = token_input
        self._long_input = long_input
        # A text is tokenized until it has more tokens than this, and then it is too long.
        self._limit = MAX_INPUT_TOKENS if long_input == "window" else max_tokens - 2

    def encode(
        self, inputs: Sequence[str | TokenIds], prompt: str = "", deadline: Deadline = NO_DEADLINE
    ) -> list[Encoding]:
        """Encode the inputs in order, up to the first invalid one.

        Inputs are all texts or all token IDs: cl100k_base's (`decode`), or the model's own, special tokens included
        (`native`). The prompt goes before every text.

        Raises:
            RequestError: token IDs are not accepted or not in the vocabulary, or an input or all of them are too long.
            UnavailableError: the deadline has passed.
        """
        limit = self._limit
        if self._long_input == "window" and not isinstance(inputs[0], str):
            limit = MAX_REQUEST_TOKENS  # the client has counted them, as tokens of OpenAI's: they may be more here
        native = self._token_input == "native" and not isinstance(inputs[0], str)
        contents = (
            self._check_native(inputs)
            if native
            else map(self._words.encode, self._texts(inputs, prompt), repeat(limit))
        )
        encodings, tokens = [], 0
        for index, content in enumerate(contents):
            deadline.check()
            encodings.append(self._fit(content, index, limit, special=not native))
            tokens += len(content)
            if tokens > MAX_REQUEST_TOKENS:
                raise _too_large(index, f"{MAX_REQUEST_TOKENS:,} tokens")
        return encodings

    def _texts(self, inputs: Sequence[str | TokenIds], prompt: str) -> Iterator[str]:
        """Yield one text at a time, with its prompt: decoded texts are never all in memory at once."""
        characters = 0
        for index, item in enumerate(inputs):
            text = prompt + (item if isinstance(item, str) else self._decode(item, index))
            characters += len(text)
            if characters > MAX_REQUEST_CHARACTERS:
                raise _too_large(index, f"{MAX_REQUEST_CHARACTERS:,} characters")
            yield text

    def _decode(self, token_ids: TokenIds, index: int) -> str:
        if self._token_input == "reject":
            raise RequestError(
                "Token IDs are not accepted as 'input' here: send text. "
                "With LangChain, set check_embedding_ctx_length=False.",
                param="input",
                code="token_input_rejected",
            )
        _check_vocabulary(token_ids, index, cl100k.SIZE, "cl100k_base")
        return cl100k.decode(token_ids, f"input.{index}")

    def _check_native(self, inputs: Sequence[Any]) -> Iterator[TokenIds]:
        size = self._words.vocabulary_size
        for index, token_ids in enumerate(inputs):
            _check_vocabulary(token_ids, index, size, "the model's vocabulary")
            yield token_ids

    def _fit(self, content: TokenIds, index: int, limit: int, *, special: bool) -> Encoding:
        """Apply the policy to an input that may be too long; `special` if special tokens are to enclose it."""
        opening, closing = self._enclosing if special else ([], [])
        window = self._max_tokens - len(opening) - len(closing)
        if len(content) <= window:
            return Encoding([[*opening, *content, *closing]])
        if self._long_input == "error":
            requested = len(opening) + len(content) + len(closing)
            raise _context_length_exceeded(self._max_tokens, requested, index, f", or {WINDOW_HINT}")
        if self._long_input == "window" and len(content) > limit:
            raise _context_length_exceeded(limit, len(content), index)
        end = window if self._long_input == "truncate" else len(content)
        pieces = [content[start : start + window] for start in range(0, end, window)]
        return Encoding([[*opening, *piece, *closing] for piece in pieces], long=True)


def _word_cache(definition: dict[str, Any]) -> "CachedWordPiece | CachedUnigram | None":
    """Return the model's tokenizer as a cache of words, or None if it is neither WordPiece nor Unigram as supported."""
    if (wordpiece := CachedWordPiece.from_definition(definition)) is not None:
        return wordpiece
    from handler.embedding.unigram import CachedUnigram  # not at the top: most models never need it

    return CachedUnigram.from_definition(definition)


def _special_ids(definition: dict[str, Any]) -> tuple[int, int] | None:
    """Return the IDs of the two tokens that enclose a text, or None if the definition does not list them plainly."""
    match definition["post_processor"]:
        case {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": opening}}, {"Sequence": _}, {"SpecialToken": {"id": closing}}],
            "special_tokens": special,
        }:
            (first,), (last,) = special[opening]["ids"], special[closing]["ids"]
            return first, last
        case _:
            return None


def _check_vocabulary(token_ids: TokenIds, index: int, size: int, vocabulary: str) -> None:
    largest = max(token_ids)
    if largest >= size:
        raise RequestError(
            f"Token ID {largest} in 'input.{index}' is not in {vocabulary}: IDs run from 0 to {size - 1}.",
            param=f"input.{index}",
            code="invalid_token_id",
        )


def _context_length_exceeded(limit: int, requested: int, index: int, remedy: str = "") -> RequestError:
    """Return the error in OpenAI's words, which clients search for."""
    return RequestError(
        f"This model's maximum context length is {limit} tokens, however you requested at least {requested} tokens in "
        f"'input.{index}'. Please shorten it or split it{remedy}.",
        param=f"input.{index}",
        code="context_length_exceeded",
    )


def _too_large(index: int, limit: str) -> RequestError:
    return RequestError(
        f"The inputs up to 'input.{index}' have more than {limit} in total; send several requests.",
        param="input",
        code="request_too_large",
    )
