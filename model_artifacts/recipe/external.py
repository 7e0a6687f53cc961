"""A graph as its publisher exported it: checked, compared with reference vectors, and served unchanged.

Texts run one at a time (handler.embedding.inference.ExternalSession), so a text's bits do not depend on the others of
its batch, even if the graph computes scales from whole tensors.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from handler.artifacts.manifest import MAX_FILE_BYTES, MAX_TOKENS, TOKENIZER_FILE, Pooling
from handler.artifacts.resolver import Artifacts
from handler.embedding.embedder import Embedder
from handler.embedding.inference import VECTOR_OUTPUT, ExternalSession
from handler.settings import Settings
from model_artifacts.recipe.configuration import SourceError, in_one_line, read_configuration, read_json
from model_artifacts.recipe.golden import Golden
from model_artifacts.recipe.source import WEIGHTS_FILE, identify, sha256
from model_artifacts.recipe.tokenizer import read_tokenizer
from model_artifacts.recipe.verify import Figures, VerificationError, cosines, measure_alone
from model_artifacts.recipe.weights import ARCHITECTURES

FOLDERS = ("*.onnx", "onnx/*.onnx")  # where the Hub's repositories have graphs
ONE_FILE = "python -c \"import onnx; onnx.save(onnx.load('{}'), 'model.onnx')\""
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
# Of the products of quantized graphs, as onnxruntime's tools and the Hub's exporters write them.
QUANTIZED = {"DequantizeLinear", "MatMulInteger", "MatMulNBits", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm"}
# On paraphrase-MiniLM-L3-v2, another pooling gives a mean cosine of 0.70, and quantize_dynamic 0.967 or 0.986.
MIN_COSINE, MIN_QUANTIZED_COSINE = 0.999, 0.9
LENGTH_TOLERANCE = 0.1  # of a vector's length: a missing normalization changes it many times


@dataclass(frozen=True, slots=True)
class External:
    """A publisher's graph, and its configuration from sentence-transformers' files.

    file            the graph's path in its directory
    weights_sha256  of the directory's own weights, from which the graph was exported; None if it has none
    """

    id: str
    file: str
    content: bytes
    quantized: bool
    tokenizer: bytes
    max_tokens: int
    pooling: Pooling
    normalize: bool
    prompts: Mapping[str, str]
    weights_sha256: str | None
    aliases: tuple[str, ...] = ()


def read(directory: Path, file: str | None, name: str | None, prompts: Mapping[str, str]) -> External:
    """Read a directory with an ONNX graph.

    Raises:
        SourceError: a file is missing, or asks for something that cannot be served.
    """
    identity = identify(directory, name)
    path = choose(directory, file)
    for needed in (directory / TOKENIZER_FILE, directory / "config.json"):
        if not needed.is_file():
            raise SourceError(f"{needed}: no such file")
    configuration, tokenizer = read_configuration(directory), read_tokenizer(directory)
    config = read_json(directory / "config.json")
    max_tokens = _max_tokens(directory, configuration.max_tokens or tokenizer.max_tokens, config)
    model = path.read_bytes()
    operators = check_graph(path, model)
    try:
        session = ExternalSession(model)
    except Exception as error:  # onnxruntime's errors have no common class
        raise SourceError(f"{path}: {in_one_line(error)}") from error
    if configuration.dense and session.output != VECTOR_OUTPUT:
        raise SourceError(f"{path}: it ends before the module Dense; export it with {VECTOR_OUTPUT} as its output")
    return External(
        id=identity,
        file=str(path.relative_to(directory)),
        content=model,
        quantized=bool(operators & QUANTIZED),
        tokenizer=tokenizer.definition,
        max_tokens=max_tokens,
        pooling="none" if session.output == VECTOR_OUTPUT else configuration.pooling,
        normalize=configuration.normalize,
        prompts={**configuration.prompts, **prompts},
        weights_sha256=sha256(directory / WEIGHTS_FILE) if (directory / WEIGHTS_FILE).is_file() else None,
    )


def choose(directory: Path, file: str | None) -> Path:
    """Return the path of the graph that is to be served.

    Raises:
        SourceError: there is none, or there are several and none was chosen.
    """
    found = sorted(str(path.relative_to(directory)) for pattern in FOLDERS for path in directory.glob(pattern))
    if not found:
        raise SourceError(f"{directory}: there is no .onnx file in it, nor in its folder onnx")
    if file not in found and (file or len(found) > 1):
        chosen = f"FILE is {file}, which it does not have" if file else "it has several graphs"
        raise SourceError(f"{directory}: {chosen}; choose one of them: {', '.join(f'FILE={each}' for each in found)}")
    return directory / (file or found[0])


def check_graph(path: Path, model: bytes) -> set[str]:
    """Check what the file says of the graph; return its operators.

    Raises:
        SourceError: it is no ONNX file, or one whose vectors would depend on other files, on chance or on padding.
    """
    if len(model) > MAX_FILE_BYTES:
        raise SourceError(f"{path}: it has {len(model):,} bytes, and a model may have {MAX_FILE_BYTES:,}")
    try:
        parsed = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's
        raise SourceError(f"{path}: it is no ONNX file: {error}") from error
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in _find(parsed, TensorProto)):
        remedy = ONE_FILE.format(path)
        raise SourceError(f"{path}: its tensors are in another file, which has no digest; make it one file: {remedy}")
    operators = {node.op_type for node in _find(parsed, NodeProto)}
    if chance := operators & RANDOM:
        raise SourceError(f"{path}: it computes with random numbers ({', '.join(sorted(chance))}); export it again")
    values = {tensor.name for tensor in parsed.graph.initializer}  # older files list them as inputs, too
    for each in parsed.graph.input:
        if each.name in values:
            continue
        kind = each.type.tensor_type
        sizes = [axis.dim_value for axis in kind.shape.dim]  # 0 for one that may vary
        if kind.elem_type != TensorProto.INT64 or len(sizes) != 2 or sizes[0] > 1 or sizes[1]:
            raise SourceError(
                f"{path}: its input {each.name} is {TensorProto.DataType.Name(kind.elem_type)} {sizes}; export it with "
                "inputs of INT64 (texts, tokens), whose sizes may vary"
            )
    return operators


def _find(message: Any, kind: type[Any]) -> Iterator[Any]:
    """Yield every message of a kind within another one, also in subgraphs, attributes and functions."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in [value] if hasattr(value, "ListFields") else value:
            if isinstance(each, kind):
                yield each
            yield from _find(each, kind)


def _max_tokens(directory: Path, configured: int | None, config: Mapping[str, Any]) -> int:
    """Return the longest sequence that the files allow; the Hub's tokenizers say 10^30 for any length."""
    first = ARCHITECTURES[config["model_type"]].first_position if config.get("model_type") in ARCHITECTURES else 0
    positions = config.get("max_position_embeddings")
    limits = [limit for limit in (configured, positions - first if positions else None) if limit]
    if not limits:
        raise SourceError(
            f"{directory}: nothing says how many tokens the model reads; write "
            '{"max_seq_length": 512}, or its own number, to sentence_bert_config.json'
        )
    return min(*limits, MAX_TOKENS)


def compare(
    external: External, artifacts: Artifacts, golden: Golden, sts: Path | None, workers: int
) -> dict[str, Figures]:
    """Compare the served graph with the reference vectors, and measure it on STS-B if its file is given.

    Raises:
        SourceError: it cannot be served, or the reference vectors are of other weights than its directory has.
        VerificationError: its vectors are not those of the reference.
    """
    if external.weights_sha256 not in (None, golden.source_sha256):
        raise SourceError("the golden file was recorded from other weights than the directory has; record it again")
    try:
        embedder = Embedder(artifacts, Settings(workers=workers, long_input="truncate"))
        vectors = embedder.embed(golden.texts).vectors
        embedder.embed(["a " * external.max_tokens])  # it has to read as many tokens as its files say
    except Exception as error:  # those of onnxruntime, or a graph that does not compute what its output says
        raise SourceError(f"{external.file} cannot be run: {in_one_line(error)}") from error
    figures = cosines(vectors, golden.vectors)
    name, least = ("cosine_mean", MIN_QUANTIZED_COSINE) if external.quantized else ("cosine_min", MIN_COSINE)
    if float(figures[name]) < least:
        raise VerificationError(
            f"golden: {name} is {figures[name]}, below {least} for a {'quantized' if external.quantized else 'float'} "
            "graph: pooling, prompts or tokenizer are not those of the reference, or the graph is another model's"
        )
    lengths = np.linalg.norm(vectors, axis=1) / np.linalg.norm(golden.vectors, axis=1)
    if abs(lengths.mean() - 1) > LENGTH_TOLERANCE:
        raise VerificationError(f"golden: vectors have {lengths.mean():.2f} of the reference's length")
    return {"golden": figures} | (measure_alone(embedder, sts) if sts else {})
