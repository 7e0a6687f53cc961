"""`python -m model_artifacts.recipe` (make model): builds a verified model from source weights, step by step."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE, Manifest
from handler.artifacts.resolver import Artifacts
from handler.embedding.tokenization import Tokenizer
from model_artifacts.recipe import external, hub
from model_artifacts.recipe import golden as reference
from model_artifacts.recipe import source as sources
from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.export import export
from model_artifacts.recipe.origin import UNKNOWN, Origin, find_origin
from model_artifacts.recipe.quantize import quantize
from model_artifacts.recipe.save import describe, save
from model_artifacts.recipe.verify import Figures, VerificationError, read_sts, verify

GOLDEN_FILE = "golden.json"
EXAMPLE_PROMPTS = '{"query": "query: ", "passage": "passage: "}'
TOOLS = ("numpy", "onnx", "onnxruntime", "tokenizers")


@dataclass(frozen=True, slots=True)
class Order:
    """What a build needs besides its source.

    golden  the path of the reference vectors
    folder  where the model is written
    sts     a split of STS-B, to measure on as well
    """

    golden: Path
    folder: Path
    origin: Origin
    sts: Path | None = None


def main() -> None:
    """Build, verify and save one model."""
    parser = argparse.ArgumentParser(description="Rebuild a served model from its source weights.")
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--source",
        metavar="DIR",
        help="a Hugging Face directory of an encoder, or owner/name on the Hub (default: the pinned package)",
    )
    given.add_argument("--onnx", metavar="DIR", help="a Hugging Face directory with a graph, served as it is")
    parser.add_argument("--file", help="the graph in the directory, such as onnx/model.onnx, if it has several")
    parser.add_argument("--revision", help="the branch, tag or commit on the Hub (default: its main branch)")
    parser.add_argument("--name", help="the model's ID (default: the directory's name)")
    parser.add_argument("--prompts", metavar="JSON", help='prompts that the source lacks: {"query": "query: "}')
    parser.add_argument("--license", help="the weights' licence, if the model card does not say it")
    parser.add_argument(
        "--golden", type=Path, metavar="FILE", help="reference vectors (default: as make golden writes)"
    )
    parser.add_argument("--sts", type=Path, metavar="FILE", help="also measure on this split of STS-B (.tsv.gz)")
    parser.add_argument(
        "--full-precision", action="store_true", help="do not quantize; write the model to build/models/"
    )
    arguments = parser.parse_args()
    try:
        run(arguments)
    except (SourceError, VerificationError, OSError) as error:
        sys.exit(f"make model: {error}")


def run(arguments: argparse.Namespace) -> None:
    """Build the model that the command line asks for.

    Raises:
        SourceError, VerificationError: it cannot be built, or is not good enough to be served.
    """
    if arguments.sts:
        read_sts(arguments.sts)  # it is needed last, so a wrong file fails before the rest is done
    prompts = _prompts(arguments.prompts or "{}")
    given = arguments.onnx or arguments.source
    if arguments.onnx and not Path(arguments.onnx).is_dir():
        raise SourceError(f"ONNX={arguments.onnx}: no such directory")
    if arguments.file and not arguments.onnx:
        raise SourceError("FILE is one of the graphs in ONNX=DIR, which is missing")
    directory = hub.locate(given, arguments.revision) if given else None
    identity = sources.identify(directory, arguments.name)
    origin = find_origin(directory or sources.default_directory(), arguments.license)
    if not directory:
        origin = replace(origin, upstream=sources.PACKAGE_UPSTREAM)
    folder = reference.golden_file(identity, directory).parent
    order = Order(arguments.golden or folder / GOLDEN_FILE, folder, origin, arguments.sts)
    if directory and arguments.onnx:
        seal(external.read(directory, arguments.file, identity, prompts), order)
    else:
        build(sources.read(directory, identity, prompts), order, full_precision=arguments.full_precision)


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


def build(source: sources.Source, order: Order, *, full_precision: bool = False) -> None:
    """Run the steps after the source, and print the name of each as it starts.

    The full-precision model has its own name and is not written to the image: it is four times as large.

    Raises:
        SourceError: there are no reference vectors, or those of other weights.
        VerificationError: the model is not good enough to be served.
    """
    golden, recorded, folder = reference.Golden.read(order.golden), order.golden.read_bytes(), order.folder
    if golden.source_sha256 != source.weights_sha256:
        raise SourceError(f"{order.golden}: recorded from other weights; record it again with make golden")

    step("export")
    full = export(source)

    if full_precision:
        source = replace(source, id=f"{source.id}-float32", aliases=())
        folder, served = reference.BUILT / source.id, full
    else:
        step("quantize")
        opening, _, closing = Tokenizer(source.tokenizer, source.max_tokens).encode(["a"])[0].windows[0]
        served = quantize(full, (opening, closing))

    step("verify")
    content = served.SerializeToString(deterministic=True)
    files = {MODEL_FILE: content, TOKENIZER_FILE: source.tokenizer, GOLDEN_FILE: recorded}
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
            **asdict(order.origin),
            "weights_sha256": source.weights_sha256,
            "tools": {tool: version(tool) for tool in TOOLS},
        },
        quality={},
    )
    artifacts = Artifacts(draft, digest="", model=content, tokenizer=source.tokenizer)
    quality = verify(artifacts, full.SerializeToString(), golden, order.sts, workers=os.cpu_count() or 1)
    finish(folder, draft, files, quality)


def seal(model: external.External, order: Order) -> None:
    """Verify a publisher's graph and save it as it is.

    Raises:
        SourceError: it cannot be served, or there are no reference vectors, or those of other weights.
        VerificationError: its vectors are not those of the reference.
    """
    golden, recorded = reference.Golden.read(order.golden), order.golden.read_bytes()
    step("verify")
    files = {MODEL_FILE: model.content, TOKENIZER_FILE: model.tokenizer, GOLDEN_FILE: recorded}
    draft = Manifest(
        id=model.id,
        aliases=(),
        dimensions=golden.vectors.shape[1],
        max_tokens=model.max_tokens,
        pooling=model.pooling,
        normalize=model.normalize,
        prompts=model.prompts,
        files={name: describe(content) for name, content in files.items()},
        provenance={
            "source": model.id,
            **asdict(order.origin),
            "file": model.file,
            "golden_weights_sha256": golden.source_sha256,
            "tools": {tool: version(tool) for tool in TOOLS},
        },
        quality={},
        graph="external",
    )
    artifacts = Artifacts(draft, digest="", model=model.content, tokenizer=model.tokenizer)
    finish(
        order.folder, draft, files, external.compare(model, artifacts, golden, order.sts, workers=os.cpu_count() or 1)
    )


def finish(folder: Path, draft: Manifest, files: Mapping[str, bytes], quality: Mapping[str, Figures]) -> None:
    """Print the figures and save the model."""
    for data, figures in quality.items():
        print(f"  {data}: " + ", ".join(f"{name} {figure}" for name, figure in figures.items() if name != "sha256"))
    if draft.provenance["license"] == UNKNOWN:
        print("  the licence is unknown: set LICENSE, such as LICENSE=apache-2.0, to record it")
    step("save")
    folder.mkdir(parents=True, exist_ok=True)
    digest = save(folder, draft, files, quality)
    print(f"  {draft.id}@sha256:{digest}, {len(files[MODEL_FILE]) / 1e6:.1f} MB")


def step(name: str) -> None:
    """Print the name of a step as it starts, also into a pipe."""
    print(name, flush=True)


if __name__ == "__main__":
    main()
