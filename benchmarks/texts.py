"""The texts that are embedded: the sentences of STS-B if its file is given, otherwise texts of the same lengths."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from handler.settings import Settings
from model_artifacts.recipe.sts import read_sts

SEED = 0
SPECIAL = 2  # the tokens that open and close every text
SYNTHETIC = 2910  # the number of distinct sentences in STS-B's dev split
# Token counts of STS-B's dev split, special tokens included: every twentieth quantile from minimum to maximum.
QUANTILES = (5, 8, 9, 9, 10, 10, 11, 12, 12, 13, 14, 15, 16, 18, 19, 21, 22, 24, 27, 31, 53)


class Texts:
    """Sentences in a fixed random order, and texts with an exact number of tokens.

    origin     describes the sentences in the report
    sentences  without duplicates
    pairs      of STS-B, with human scores; None without its file
    """

    def __init__(self, sts: Path | None) -> None:
        """Read both columns of a split of STS-B, or generate texts with its lengths."""
        settings = Settings()
        folder = settings.artifacts / settings.models[0]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        vocabulary = self._tokenizer.get_vocab()
        # Every entry is a whole word and one token, so a text of n words has n tokens.
        words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 2)
        self._words = np.array(words)
        self._random = np.random.default_rng(SEED)
        self.pairs = read_sts(sts) if sts else None
        if self.pairs:
            self.sentences = list(dict.fromkeys([*self.pairs.left, *self.pairs.right]))
            self.origin = "sentences of the STS-B dev split"
        else:
            lengths = np.interp(self._random.random(SYNTHETIC), np.linspace(0, 1, len(QUANTILES)), QUANTILES)
            self.sentences = [self.of_length(int(length)) for length in lengths]
            self.origin = "random words in texts as long as the sentences of the STS-B dev split"
        self._random.shuffle(self.sentences)

    def of_length(self, tokens: int) -> str:
        """Return a text with this number of tokens, special tokens included."""
        return " ".join(self._random.choice(self._words, tokens - SPECIAL))

    def sample(self, index: int, size: int) -> list[str]:
        """Return the sentences of sample number `index`, starting over after the last sentence."""
        start = index * size
        return [self.sentences[place % len(self.sentences)] for place in range(start, start + size)]

    def distinct(self) -> Iterator[str]:
        """Yield sentences without end and without duplicates, which would be computed once."""
        for number, text in enumerate(cycle(self.sentences)):
            repeated = number // len(self.sentences)
            yield f"{text} {repeated}" if repeated else text

    def mean_tokens(self) -> float:
        """Return the mean number of tokens per sentence, special tokens included."""
        return float(np.mean([len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(self.sentences)]))
