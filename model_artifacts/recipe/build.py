"""The steps of the recipe after its source, each named as it starts: a verified model, and its manifest."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE, Manifest, check_ranges
from handler.artifacts.resolver import Artifacts
from handler.embedding.tokenization import Tokenizer
from model_artifacts.recipe import external
from model_artifacts.recipe import golden as reference
from model_artifacts.recipe.attention import clip_small_scores, largest_scores, needs_shift
from model_artifacts.recipe.calibrate import CALIBRATION_TEXTS, random_texts
from model_artifacts.recipe.configuration import SourceError, in_one_line
from model_artifacts.recipe.export import SCORE_LIMITS, export
from model_artifacts.recipe.origin import UNKNOWN, Origin
from model_artifacts.recipe.output_types import calibrate
from model_artifacts.recipe.quantize import Tier, quantize
from model_artifacts.recipe.save import describe, save
from model_artifacts.recipe.source import Source
from model_artifacts.recipe.verify import Figures, verify

GOLDEN_FILE = "golden.json"
TOOLS = ("numpy", "onnx", "onnxruntime", "tokenizers")


@dataclass(frozen=True, slots=True)
class Order:
    """What a build needs besides its source.

    golden  the path of the reference vectors
    folder  where the model is written
    sts     a split of STS-B, to measure on as well
    tier    fast, or nearer to full precision
    """

    golden: Path
    folder: Path
    origin: Origin
    sts: Path | None = None
    tier: Tier = "fast"


def build(source: Source, order: Order, *, full_precision: bool = False) -> None:
    """Run the steps after the source, and print the name of each as it starts.

    The full-precision model has its own name and is not written to the image: it is four times as large.

    Raises:
        SourceError: there are no reference vectors, or those of other weights.
        VerificationError: the model is not good enough to be served.
    """
    golden = reference.Golden.read(order.golden)
    if golden.source_sha256 != source.weights_sha256:
        raise SourceError(f"{order.golden}: recorded from other weights; record it again with make golden")
    special = special_tokens(source)
    origins = {"source": source.origin, "weights_sha256": source.weights_sha256, "tier": order.tier}
    draft = draft_manifest(source, golden, order, origins)

    step("export")
    full = export(source)
    tokenizer = Tokenizer(source.tokenizer, source.max_tokens, long_input="truncate")
    texts = [np.array(encoding.windows[0])[:, None] for encoding in tokenizer.encode(golden.texts)]
    vocabulary = len(source.weights["embeddings.word_embeddings.weight"])
    texts += random_texts(CALIBRATION_TEXTS, source.max_tokens, vocabulary, special)
    scores = largest_scores(full, texts)

    if full_precision:
        draft = replace(draft, id=f"{source.id}-float32", aliases=())
        order = replace(order, folder=reference.BUILT / draft.id)
        served = full
    else:
        step("quantize")
        served = clip_small_scores(quantize(full, special, longest=source.max_tokens, tier=order.tier), scores)

    step("verify")
    content = served.SerializeToString(deterministic=True)
    artifacts = Artifacts(draft, digest="", model=content, tokenizer=source.tokenizer)
    quality = verify(artifacts, full.SerializeToString(), golden, order.sts, workers=os.cpu_count() or 1)
    if scores:
        quality["attention"] = {
            "largest_score": round(max(scores.values()), 1),
            "limit": SCORE_LIMITS["most"],
            "exact_layers": sum(map(needs_shift, scores.values())),
        }
    finish(artifacts, order, quality)


def seal(model: external.External, order: Order) -> None:
    """Verify a publisher's graph and save it as it is.

    Raises:
        SourceError: it cannot be served, or there are no reference vectors, or those of other weights.
        VerificationError: its vectors are not those of the reference.
    """
    golden = reference.Golden.read(order.golden)
    origins = {"source": model.id, "file": model.file, "golden_weights_sha256": golden.source_sha256}
    special_tokens(model)  # raises an error if they are not two
    draft = replace(draft_manifest(model, golden, order, origins), graph="external")
    step("verify")
    artifacts = Artifacts(draft, digest="", model=model.content, tokenizer=model.tokenizer)
    finish(artifacts, order, external.compare(model, artifacts, golden, order.sts, workers=os.cpu_count() or 1))


def special_tokens(source: Source | external.External) -> tuple[int, int]:
    """Return the IDs of the two tokens that enclose a text.

    Raises:
        SourceError: the tokenizer cannot be read, or encloses texts in another way.
    """
    try:
        opening, *_, closing = Tokenizer(source.tokenizer, source.max_tokens).encode(["a"])[0].windows[0]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in `tokenizers`, which is written in Rust, is no Exception
        raise SourceError(
            f"{TOKENIZER_FILE}: it cannot be read, or encloses no text in two special tokens: {in_one_line(error)}"
        ) from error
    return opening, closing


def draft_manifest(
    source: Source | external.External, golden: reference.Golden, order: Order, provenance: Mapping[str, str]
) -> Manifest:
    """Return a manifest without files and quality.

    Raises:
        SourceError: a field is out of the range that the service accepts.
    """
    tools = {tool: version(tool) for tool in TOOLS}
    draft = Manifest(
        id=source.id,
        aliases=source.aliases,
        dimensions=golden.vectors.shape[1],
        max_tokens=source.max_tokens,
        pooling=source.pooling,
        normalize=source.normalize,
        prompts=source.prompts,
        files={},
        provenance={**provenance, **asdict(order.origin), "tools": tools},
        quality={},
        calibration=calibrate(golden.vectors),
    )
    try:
        check_ranges(draft)
    except ValueError as error:
        raise SourceError(f"{source.id}: the manifest cannot describe it: {error}") from error
    return draft


def finish(artifacts: Artifacts, order: Order, quality: Mapping[str, Figures]) -> None:
    """Print the figures and save the model, with its reference vectors."""
    for data, figures in quality.items():
        print_figures(data, figures)
    if order.origin.license == UNKNOWN:
        print("  the licence is unknown: set LICENSE, such as LICENSE=apache-2.0, to record it")
    step("save")
    golden = order.golden.read_bytes()
    files = {MODEL_FILE: artifacts.model[:], TOKENIZER_FILE: artifacts.tokenizer, GOLDEN_FILE: golden}
    draft = replace(artifacts.manifest, files={name: describe(content) for name, content in files.items()})
    try:
        order.folder.mkdir(parents=True, exist_ok=True)
        digest = save(order.folder, draft, files, quality)
    except OSError as error:  # a full disk's does not say where
        raise OSError(error.errno, error.strerror, str(order.folder)) from error
    print(f"  {draft.id}@sha256:{digest}, {len(artifacts.model) / 1e6:.1f} MB")


def print_figures(data: str, figures: Figures) -> None:
    """Print figures on a line, and those of a table below it, a line for each row."""
    tables = {name: figure for name, figure in figures.items() if isinstance(figure, dict)}
    line = ", ".join(f"{name} {figure}" for name, figure in figures.items() if name not in {"sha256", *tables})
    print(f"  {data}: {line}" if line else f"  {data}")
    for name, rows in tables.items():
        print_figures(f"{data} {name}", rows)


def step(name: str) -> None:
    """Print the name of a step as it starts, also into a pipe."""
    print(name, flush=True)
