"""What windows are worth: how often a document of STS-B sentences is found by one of them, or by its paraphrase.

python -m benchmarks.windows sts-dev.tsv.gz

Documents are sentences in random order. They have no subject, which is the hardest case for one vector. A query is one
of the sentences, anywhere in its document, or the other sentence of its pair, if people rated the two as equivalent.
`truncate` and `window` are values of LONG_INPUT. `pieces` is what a client can do instead: it embeds a document in
pieces that the model reads at once, and the most similar piece counts.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handler.artifacts import resolver
from handler.embedding.embedder import Embedder
from handler.embedding.pooling import Vectors
from handler.settings import Settings
from model_artifacts.recipe.sts import read_sts

LENGTHS = (250, 500, 1000, 3000, 8000)  # tokens of a document
DOCUMENTS, QUERIES = 100, 2  # queries per document, in each of the two forms
MIN_SCORE = 4.0  # of 5: mostly equivalent, some unimportant details differ (Cer et al. 2017, table 1)
PIECE_TOKENS = 250
TOP = 10
SEED = 13


@dataclass(frozen=True, slots=True)
class Corpus:
    """Sentences that are queried, a paraphrase of each, other sentences, and the number of tokens of all."""

    sentences: list[str]
    paraphrases: list[str]
    others: list[str]
    tokens: dict[str, int]

    @classmethod
    def read(cls, path: Path, embedder: Embedder) -> "Corpus":
        """Read a split of STS-B, and draw the queries from its equivalent pairs."""
        pairs = read_sts(path)
        rows = zip(pairs.left, pairs.right, pairs.scores, strict=True)
        equivalent = {left: right for left, right, score in rows if score >= MIN_SCORE and left != right}
        texts = dict.fromkeys([*pairs.left, *pairs.right])
        queried = list(equivalent.items())[:: len(equivalent) // (DOCUMENTS * QUERIES)][: DOCUMENTS * QUERIES]
        sentences, paraphrases = map(list, zip(*queried, strict=True))
        others = [text for text in texts if text not in equivalent and text not in equivalent.values()]
        return cls(sentences, paraphrases, others, {text: embedder.embed([text]).tokens - 2 for text in texts})

    def documents(self, length: int) -> Iterator[list[str]]:
        """Yield the sentences of each document of about `length` tokens; it has the next QUERIES that are queried."""
        chance = random.Random(SEED)
        for start in range(0, len(self.sentences), QUERIES):
            document = self.sentences[start : start + QUERIES]
            room = length - sum(self.tokens[sentence] for sentence in document)
            while self.tokens[sentence := chance.choice(self.others)] <= room:
                document.append(sentence)
                room -= self.tokens[sentence]
            chance.shuffle(document)
            yield document

    def pieces(self, document: list[str]) -> list[str]:
        """Join a document's sentences into pieces of at most PIECE_TOKENS tokens."""
        pieces, room = [""], PIECE_TOKENS
        for sentence in document:
            if self.tokens[sentence] > room:
                pieces, room = [*pieces, ""], PIECE_TOKENS
            pieces[-1] += f"{sentence} "
            room -= self.tokens[sentence]
        return pieces


def shares_found(similarities: Vectors) -> str:
    """Return how often the right document is the first, and among the first TOP, from (queries, documents)."""
    right = np.repeat(np.arange(DOCUMENTS), QUERIES)
    better = (similarities > similarities[np.arange(len(right)), right][:, None]).sum(axis=1)
    return f"{(better < 1).mean():5.0%} {(better < TOP).mean():5.0%}"


def main() -> None:
    """Print, for each length and way of embedding, how often a document is found."""
    settings = Settings()
    artifacts = resolver.load(settings.models[0], settings)
    window = Embedder(artifacts, Settings(workers=2))
    truncate = Embedder(artifacts, Settings(workers=2, long_input="truncate"))
    corpus = Corpus.read(Path(sys.argv[1]), window)
    queries = [window.embed(texts).vectors for texts in (corpus.sentences, corpus.paraphrases)]
    print(f"{DOCUMENTS} documents: found first and among {TOP}, by a sentence; by its paraphrase")
    for length in LENGTHS:
        documents = list(corpus.documents(length))
        texts = [" ".join(document) for document in documents]
        pieces = [window.embed(corpus.pieces(document)).vectors for document in documents]
        similarities = {
            "truncate": [query @ truncate.embed(texts).vectors.T for query in queries],
            "window": [query @ np.concatenate([window.embed([text]).vectors for text in texts]).T for query in queries],
            "pieces": [np.array([(query @ each.T).max(axis=1) for each in pieces]).T for query in queries],
        }
        for name, (by_sentence, by_paraphrase) in similarities.items():
            print(f"{length:5} {name:9} {shares_found(by_sentence)}; {shares_found(by_paraphrase)}", flush=True)


if __name__ == "__main__":
    main()
