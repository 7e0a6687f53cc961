"""`python -m model_artifacts.recipe` (make model): builds a verified model from source weights, step by step."""

import argparse
import json
import os
import sys
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE, Manifest
from handler.artifacts.resolver import Artifacts
from handler.embedding.tokenization import Tokenizer
from model_artifacts.recipe import golden as reference
from model_artifacts.recipe import source as sources
from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.export import export
from model_artifacts.recipe.quantize import quantize
from model_artifacts.recipe.save import describe, save
from model_artifacts.recipe.verify import VerificationError, read_sts, verify

GOLDEN_FILE = "golden.json"
EXAMPLE_PROMPTS = '{"query": "query: ", "passage": "passage: "}'
TOOLS = ("numpy", "onnx", "onnxruntime", "tokenizers")


def main() -> None:
    """Build, verify and save one model."""
    parser = argparse.ArgumentParser(description="Rebuild a served model from its source weights.")
    parser.add_argument(
        "--source",
        type=Path,
        metavar="DIR",
        help="a Hugging Face directory of a BERT encoder (default: the pinned package)",
    )
    parser.add_argument("--name", help="the model's ID (default: the directory's name)")
    parser.add_argument("--prompts", metavar="JSON", help='prompts that the source lacks: {"query": "query: "}')
    parser.add_argument("--sts", type=Path, metavar="FILE", help="also measure on this split of STS-B (.tsv.gz)")
    parser.add_argument(
        "--full-precision", action="store_true", help="do not quantize; write the model to build/models/"
    )
    arguments = parser.parse_args()
    try:
        if arguments.sts:
            read_sts(arguments.sts)  # it is needed last, so a wrong file fails before the rest is done
        prompts = _prompts(arguments.prompts or "{}")
        source = sources.read(arguments.source, arguments.name, prompts)
        path = reference.golden_file(source.id, arguments.source)
        build(source, path, arguments.sts, full_precision=arguments.full_precision)
    except (SourceError, VerificationError, OSError) as error:
        sys.exit(f"make model: {error}")


def _prompts(text: str) -> dict[str, str]:
    """Parse prompts from the command line.

    Raises:
        SourceError: they are no JSON object of strings.
    """
    with suppress(ValueError):
        prompts = json.loads(text)
        if isinstance(prompts, dict) and all(isinstance(prompt, str) for prompt in prompts.values()):
            return prompts
    raise SourceError(f"PROMPTS is {text}: write a JSON object of texts by name, such as {EXAMPLE_PROMPTS}")


def build(source: sources.Source, path: Path, sts: Path | None, *, full_precision: bool = False) -> None:
    """Run the steps after the source, and print the name of each as it starts; `path` is that of the golden.json.

    The model is written beside its golden.json. The full-precision model has its own name and is not written to the
    image: it is four times as large.

    Raises:
        SourceError: there are no reference vectors, or those of other weights.
        VerificationError: the model is not good enough to be served.
    """
    golden, recorded, folder = reference.Golden.read(path), path.read_bytes(), path.parent
    if golden.source_sha256 != source.weights_sha256:
        raise SourceError(f"{path}: recorded from other weights; record it again with make golden")

    step("export")
    full = export(source)

    if full_precision:
        source = replace(source, id=f"{source.id}-float32", aliases=())
        folder, served = reference.BUILT / source.id, full
        folder.mkdir(parents=True, exist_ok=True)
    else:
        step("quantize")
        opening, _, closing = Tokenizer(source.tokenizer, source.max_tokens).encode(["a"])[0].windows[0]
        served = quantize(full, (opening, closing))

    step("verify")
    files = {
        MODEL_FILE: served.SerializeToString(deterministic=True),
        TOKENIZER_FILE: source.tokenizer,
        GOLDEN_FILE: recorded,
    }
    draft = Manifest(
        id=source.id,
        aliases=source.aliases,
        dimensions=golden.vectors.shape[1],
        max_tokens=source.max_tokens,
        pooling=source.pooling,
        normalize=source.normalize,
        prompts=source.prompts,
        files={name: describe(content) for name, content in files.items()},
        provenance={
            "source": source.origin,
            "weights_sha256": source.weights_sha256,
            "tools": {tool: version(tool) for tool in TOOLS},
        },
        quality={},
    )
    artifacts = Artifacts(draft, digest="", model=files[MODEL_FILE], tokenizer=files[TOKENIZER_FILE])
    quality = verify(artifacts, full.SerializeToString(), golden, sts, workers=os.cpu_count() or 1)
    for data, figures in quality.items():
        print(f"  {data}: " + ", ".join(f"{name} {figure}" for name, figure in figures.items() if name != "sha256"))

    step("save")
    digest = save(folder, draft, files, quality)
    print(f"  {source.id}@sha256:{digest}, {len(files[MODEL_FILE]) / 1e6:.1f} MB")


def step(name: str) -> None:
    """Print the name of a step as it starts, also into a pipe."""
    print(name, flush=True)


if __name__ == "__main__":
    main()
