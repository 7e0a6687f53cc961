"""Texts or token ids to token sequences that the model accepts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from handler.embedding import cl100k
from handler.embedding.wordpiece import CachedWordPiece
from handler.errors import RequestError
from handler.settings import LongInput, TokenInput

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFaceTokenizer

TokenIds = list[int]

GROUP_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class Encoding:
    """One input as the model reads it.

    windows  its token sequence, or those of its windows
    long     whether it was too long and was truncated or split into windows
    """

    windows: list[TokenIds]
    long: bool = False

    def __len__(self) -> int:
        """Count the tokens that the model reads."""
        return sum(map(len, self.windows))


class Tokenizer:
    """A model's own tokenizer, with the policies for token ids as input and for inputs that are too long."""

    def __init__(
        self, definition: bytes, max_tokens: int, token_input: TokenInput = "decode", long_input: LongInput = "error"
    ) -> None:
        """Build from the bytes of a tokenizer.json; `max_tokens` includes the special tokens.

        Raises:
            Exception: the definition cannot be read.
        """
        self._definition = definition
        self._wordpiece = CachedWordPiece.from_definition(definition)
        self._opening, self._closing = self._encode_ascii("") or self._tokenizer.encode("").ids
        self._max_tokens = max_tokens
        self._token_input = token_input
        self._long_input = long_input

    @cached_property
    def _tokenizer(self) -> "HuggingFaceTokenizer":
        """The full tokenizer, loaded for the first text that is not ASCII; it is a sixteenth of a cold start."""
        from tokenizers import Tokenizer as HuggingFaceTokenizer

        tokenizer = HuggingFaceTokenizer.from_buffer(self._definition)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def encode(self, inputs: Sequence[str | TokenIds], prompt: str = "") -> list[Encoding]:
        """Encode each input.

        Inputs are all texts or all token ids: cl100k_base's (`decode`), or the model's own, special tokens included
        (`native`). The prompt goes before every text.

        Raises:
            RequestError: token ids are not accepted or not in the vocabulary, or an input is too long.
        """
        arrays = [item for item in inputs if not isinstance(item, str)]
        if arrays and self._token_input == "native":
            size = self._tokenizer.get_vocab_size()
            for index, token_ids in enumerate(arrays):
                _check_vocabulary(token_ids, index, size, "the model's vocabulary")
            return [self._fit(token_ids, index, special=False) for index, token_ids in enumerate(arrays)]
        texts = [prompt + self._text(item, index) for index, item in enumerate(inputs)]
        return [self._fit(token_ids, index, special=True) for index, token_ids in enumerate(self._encode(texts))]

    def _encode(self, texts: list[str]) -> Iterator[TokenIds]:
        """Yield the texts' token ids, special tokens included: from the word cache where that gives the same ids."""
        ascii_ids = list(map(self._encode_ascii, texts))
        others = [text for text, token_ids in zip(texts, ascii_ids, strict=True) if token_ids is None]
        other_ids = self._encode_with_tokenizers(others)
        for token_ids in ascii_ids:
            yield token_ids or next(other_ids)

    def _encode_ascii(self, text: str) -> TokenIds | None:
        return None if self._wordpiece is None else self._wordpiece.encode(text)

    def _encode_with_tokenizers(self, texts: list[str]) -> Iterator[TokenIds]:
        """Yield texts' token ids by `tokenizers`, in groups: it takes 230 bytes per character while it works."""
        start = characters = 0
        for end, text in enumerate(texts, start=1):
            characters += len(text)
            if characters >= GROUP_CHARACTERS or end == len(texts):
                yield from (encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts[start:end]))
                start, characters = end, 0

    def _text(self, item: str | TokenIds, index: int) -> str:
        if isinstance(item, str):
            return item
        if self._token_input == "reject":
            raise RequestError(
                "Token ids are not accepted as 'input' here: send text. "
                "With LangChain, set check_embedding_ctx_length=False.",
                param="input",
                code="token_input_rejected",
            )
        _check_vocabulary(item, index, cl100k.SIZE, "cl100k_base")
        return cl100k.decode(item, f"input.{index}")

    def _fit(self, token_ids: TokenIds, index: int, *, special: bool) -> Encoding:
        """Apply the policy to a sequence that may be too long; `special` if special tokens enclose its content."""
        if len(token_ids) <= self._max_tokens:
            return Encoding([token_ids])
        if self._long_input == "error":
            raise RequestError(
                f"This model's maximum context length is {self._max_tokens} tokens, however you requested "
                f"{len(token_ids)} tokens in 'input.{index}'. Please shorten it or split it.",
                param=f"input.{index}",
                code="context_length_exceeded",
            )
        content = token_ids[1:-1] if special else token_ids
        window = self._max_tokens - (2 if special else 0)
        pieces = [content[start : start + window] for start in range(0, len(content), window)]
        if self._long_input == "truncate":
            pieces = pieces[:1]
        return Encoding([[self._opening, *piece, self._closing] if special else piece for piece in pieces], long=True)


def _check_vocabulary(token_ids: TokenIds, index: int, size: int, vocabulary: str) -> None:
    largest = max(token_ids)
    if largest >= size:
        raise RequestError(
            f"Token id {largest} in 'input.{index}' is not in {vocabulary}: ids run from 0 to {size - 1}.",
            param=f"input.{index}",
            code="invalid_token_id",
        )
