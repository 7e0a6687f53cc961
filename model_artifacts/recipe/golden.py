"""Reference texts and their full-precision vectors by sentence-transformers, which the other steps are compared with.

This step runs in its own environment (`make golden`), because only it needs PyTorch. Its result is committed.
"""

import argparse
import base64
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_artifacts.recipe import hub, shelf
from model_artifacts.recipe import source as sources
from model_artifacts.recipe.configuration import SourceError

TEXTS = Path(__file__).with_name("texts.json")
BUNDLED = Path(__file__).parent.parent
BUILT = Path("build/models")  # not in the image
LONG_TEXTS = 4  # of full length, for a model that reads more than the longest of the texts


@dataclass(frozen=True, slots=True)
class Golden:
    """Reference texts, their vectors, float32 (texts, dimensions), and the SHA-256 of the weights that made them."""

    texts: list[str]
    vectors: NDArray[np.float32]
    source_sha256: str

    @classmethod
    def read(cls, path: Path) -> "Golden":
        """Read a golden.json.

        Raises:
            SourceError: the file does not exist, or is no golden.json.
        """
        if not path.is_file():
            raise SourceError(f"{path}: no such file; record it with make golden")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            vectors = np.array([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in content["data"]])
            golden = cls([str(row["text"]) for row in content["data"]], vectors, str(content["source_sha256"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SourceError(f"{path}: it is no golden file; record it with make golden: {error}") from error
        if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all() or not all(golden.texts):
            raise SourceError(f"{path}: it lacks texts or vectors; record it with make golden")
        return golden


def golden_file(identity: str, directory: Path | None) -> Path:
    """Return the path of a model's golden.json: in the image's models for the pinned package, else in build/models/."""
    return (BUILT if directory else BUNDLED) / identity / "golden.json"


def reference_texts(longest: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Return the reference texts; if none has the `longest` tokens that a model reads, also some that have.

    Those are the other texts one after the other, each from another one on.
    """
    texts: list[str] = json.loads(TEXTS.read_text(encoding="utf-8"))
    if max(map(count_tokens, texts)) >= longest:
        return texts
    long = []
    for start in range(0, len(texts), len(texts) // LONG_TEXTS):
        text, following = "", islice(cycle(texts), start, None)
        while count_tokens(text) < longest:
            text = f"{text} {next(following)}".lstrip()
        long.append(text)
    return texts + long


def main() -> None:
    """Record golden.json for the pinned package, or for the directory given as --source."""
    from sentence_transformers import SentenceTransformer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", metavar="DIR", help="a Hugging Face directory, or owner/name on the Hub")
    parser.add_argument("--revision", help="the branch, tag or commit on the Hub (default: its main branch)")
    parser.add_argument("--name", help="the model's ID (default: the directory's name)")
    parser.add_argument("--shelf", metavar="NAME", help="a model of models.toml, with its source")
    try:
        arguments = parser.parse_args(shelf.expand(sys.argv[1:], "source", "revision", "name"))
        given = hub.locate(arguments.source, arguments.revision) if arguments.source else None
        path = golden_file(sources.identify(given, arguments.name), given)
        directory = given or sources.default_directory()
    except SourceError as error:
        sys.exit(f"make golden: {error}")
    # A source of 16 bits would be computed in 16 bits.
    model = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": "float32"})
    data = [
        {"text": text, "embedding": base64.b64encode(model.encode([text])[0].astype("<f4").tobytes()).decode()}
        for text in reference_texts(model.max_seq_length, lambda text: len(model.tokenizer(text)["input_ids"]))
    ]
    content = {
        "recorded_with": {name: version(name) for name in ("sentence-transformers", "torch")},
        "source_sha256": sources.sha256(directory / sources.WEIGHTS_FILE),
        "data": data,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {len(data)} texts")


if __name__ == "__main__":
    main()
