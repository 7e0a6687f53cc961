"""`python -m model_artifacts.recipe` (make model): builds a verified model from source weights, step by step."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

import onnxruntime

from model_artifacts.recipe import external, hub, shelf
from model_artifacts.recipe import golden as reference
from model_artifacts.recipe import source as sources
from model_artifacts.recipe.build import GOLDEN_FILE, Order, build, seal
from model_artifacts.recipe.configuration import SourceError, in_one_line
from model_artifacts.recipe.origin import find_origin
from model_artifacts.recipe.quantize import Tier
from model_artifacts.recipe.sts import read_sts
from model_artifacts.recipe.verify import VerificationError

EXAMPLE_PROMPTS = '{"query": "query: ", "passage": "passage: "}'
FATAL = 4  # of ONNX Runtime's severities
OPTIONS = ("source", "revision", "name", "prompts", "license")  # what the shelf knows of a model


def main() -> None:
    """Build, verify and save one model."""
    parser = argparse.ArgumentParser(description="Rebuild a served model from its source weights.")
    parser.add_argument(
        "--source",
        metavar="DIR",
        help="a Hugging Face directory of an encoder, or owner/name on the Hub (default: the pinned package)",
    )
    parser.add_argument("--onnx", metavar="DIR", help="a Hugging Face directory with a graph, served as it is")
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
        "--tier", choices=get_args(Tier), default="fast", help="quality: nearer to full precision at twice the time"
    )
    parser.add_argument(
        "--full-precision", action="store_true", help="do not quantize; write the model to build/models/"
    )
    parser.add_argument("--shelf", metavar="NAME", help="a model of models.toml, with its source and its prompts")
    try:
        arguments = parser.parse_args(shelf.expand(sys.argv[1:], *OPTIONS))
        run(arguments)
    except (SourceError, VerificationError, OSError) as error:
        sys.exit(f"make model: {error}")


def run(arguments: argparse.Namespace) -> None:
    """Build the model that the command line asks for.

    Raises:
        SourceError, VerificationError: it cannot be built, or is not good enough to be served.
    """
    onnxruntime.set_default_logger_severity(FATAL)  # it would also print the errors that this command reports
    if arguments.sts:
        read_sts(arguments.sts)  # it is needed last, so a wrong file fails before the rest is done
    prompts = _prompts(arguments.prompts or "{}")
    if arguments.onnx and (arguments.source or not Path(arguments.onnx).is_dir()):
        known = "SOURCE is another way to name a model" if arguments.source else "no such directory"
        raise SourceError(f"ONNX={arguments.onnx}: {known}")
    if arguments.file and not arguments.onnx:
        raise SourceError("FILE is one of the graphs in ONNX=DIR, which is missing")
    if arguments.revision and not arguments.source:
        raise SourceError("REVISION is of SOURCE=owner/name, which is missing")
    given = arguments.onnx or arguments.source
    directory = hub.locate(given, arguments.revision) if given else None
    identity = sources.identify(directory, arguments.name)
    origin = find_origin(directory or sources.default_directory(), arguments.license)
    if not directory:
        origin = replace(origin, upstream=sources.PACKAGE_UPSTREAM)
    folder = reference.golden_file(identity, directory).parent
    order = Order(arguments.golden or folder / GOLDEN_FILE, folder, origin, arguments.sts, arguments.tier)
    with one_line(directory):
        if directory and arguments.onnx:
            seal(external.read(directory, arguments.file, identity, prompts), order)
        else:
            build(sources.read(directory, identity, prompts), order, full_precision=arguments.full_precision)


@contextmanager
def one_line(directory: Path | None) -> Iterator[None]:
    """Raise what files lead to that do not fit together as a SourceError; of the pinned package, it is a bug."""
    try:
        yield
    except (SourceError, VerificationError, OSError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in `tokenizers`, which is written in Rust, is no Exception
        if not directory:
            raise
        raise SourceError(f"{directory}: its files do not fit together: {in_one_line(error)}") from error


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


if __name__ == "__main__":
    main()
