"""The accuracy of truncated vectors on STS-B: Spearman's correlation of cosine and human score, by dimensions.

python -m benchmarks.dimensions sts-dev.tsv.gz
"""

import sys
from pathlib import Path

from handler.artifacts import resolver
from handler.embedding.embedder import Embedder
from handler.embedding.pooling import truncate_dimensions
from handler.settings import Settings
from model_artifacts.recipe.verify import read_sts, spearman

DIMENSIONS = (384, 256, 192, 128, 64, 32)


def main() -> None:
    """Embed every sentence once, and print the correlation and its loss for each number of dimensions."""
    settings = Settings()
    embedder = Embedder(resolver.load(settings.models[0], settings), settings)
    pairs = read_sts(Path(sys.argv[1]))
    vectors = embedder.embed([*pairs.left, *pairs.right]).vectors
    full = spearman(vectors, pairs.scores)
    for dimensions in DIMENSIONS:
        truncated = spearman(truncate_dimensions(vectors, dimensions), pairs.scores)
        print(f"{dimensions:4} dimensions: {truncated:.4f}, loss {full - truncated:.4f}")


if __name__ == "__main__":
    main()
