"""Texts or token ids to token sequences that the model accepts."""

from collections.abc import Sequence

from tokenizers import Tokenizer as HuggingFaceTokenizer

from handler.errors import RequestError

TokenIds = Sequence[int]


class Tokenizer:
    """A model's own tokenizer, never padding and never truncating silently."""

    def __init__(self, definition: bytes, max_tokens: int) -> None:
        """Build from the bytes of a tokenizer.json; `max_tokens` includes the special tokens.

        Raises:
            Exception: the definition is not one that `tokenizers` reads.
        """
        self._tokenizer = HuggingFaceTokenizer.from_buffer(definition)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._max_tokens = max_tokens
        self._vocabulary_size = self._tokenizer.get_vocab_size()

    def encode(self, inputs: Sequence[str] | Sequence[TokenIds]) -> list[TokenIds]:
        """Return one token sequence per input; ids given by the caller are the model's own and used as they are.

        Raises:
            RequestError: an input is longer than the model can read, or an id is not in its vocabulary.
        """
        texts = [item for item in inputs if isinstance(item, str)]
        if texts:
            sequences: list[TokenIds] = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        else:
            sequences = [item for item in inputs if not isinstance(item, str)]
            self._check_vocabulary(sequences)
        self._check_length(sequences)
        return sequences

    def _check_vocabulary(self, sequences: list[TokenIds]) -> None:
        for index, sequence in enumerate(sequences):
            if max(sequence) >= self._vocabulary_size:
                raise RequestError(
                    f"Token id {max(sequence)} in 'input.{index}' is not in the model's vocabulary: "
                    f"ids run from 0 to {self._vocabulary_size - 1}.",
                    param=f"input.{index}",
                    code="invalid_token_id",
                )

    def _check_length(self, sequences: list[TokenIds]) -> None:
        for index, sequence in enumerate(sequences):
            if len(sequence) > self._max_tokens:
                raise RequestError(
                    f"This model's maximum context length is {self._max_tokens} tokens, however you requested "
                    f"{len(sequence)} tokens in 'input.{index}'. Please shorten it or split it.",
                    param=f"input.{index}",
                    code="context_length_exceeded",
                )
