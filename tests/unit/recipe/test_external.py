"""A graph as its publisher exported it, from its directory to a served model."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from handler.artifacts.manifest import MODEL_FILE
from handler.artifacts.resolver import load
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder
from handler.embedding.pooling import HiddenStates
from handler.errors import CancelledRequestError, RequestError
from handler.settings import Settings
from model_artifacts.recipe import external
from model_artifacts.recipe.build import Order, seal
from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.origin import Origin
from model_artifacts.recipe.verify import VerificationError
from tests import exported, tiny

LETTERS = [*"abcdefghijklmnopqrstuvwxyz", "the food", "the food was good", *("a b", "b c", "c d")]


def write(tmp_path: Path, graph: onnx.ModelProto | None = None) -> Path:
    return exported.write_directory(tmp_path / "tiny-onnx", graph or exported.model())


def build(tmp_path: Path, directory: Path, golden: bytes | None = None) -> None:
    """Seal a directory's only graph; its own vectors are the reference without another one's."""
    model = external.read(directory, None, None, {})
    vectors = exported.vectors(golden or model.content, exported.TEXTS)
    reference = tiny.write_golden(tmp_path / "golden.json", exported.TEXTS, vectors)
    seal(model, Order(reference, tmp_path / "models/tiny-onnx", Origin(license="mit")))


def served(tmp_path: Path, workers: int = 1) -> Embedder:
    settings = Settings(artifacts=tmp_path / "models", workers=workers, long_input="truncate")
    return Embedder(load("tiny-onnx", settings), settings)


@pytest.mark.parametrize("output", ["last_hidden_state", "token_embeddings", "sentence_embedding"])
@pytest.mark.parametrize("inputs", [(), ("token_type_ids",), ("position_ids", "token_type_ids")], ids=len)
def test_vectors_are_those_of_the_padded_graph(tmp_path, output, inputs):
    directory = write(tmp_path, exported.model(output, inputs))
    build(tmp_path, directory)
    embedder = served(tmp_path)
    expected = exported.vectors((directory / "onnx/model.onnx").read_bytes(), exported.TEXTS)
    np.testing.assert_allclose(embedder.embed(exported.TEXTS).vectors, expected, atol=1e-6)
    manifest = embedder.manifest
    assert (manifest.graph, manifest.pooling) == ("external", "none" if output == "sentence_embedding" else "mean")
    assert (manifest.max_tokens, manifest.provenance["license"]) == (12, "mit")
    assert manifest.provenance["file"] == "onnx/model.onnx"
    assert embedder.embed(["food"], prompt_name="query").tokens > 3
    assert (tmp_path / "models/tiny-onnx" / MODEL_FILE).read_bytes() == (directory / "onnx/model.onnx").read_bytes()


def test_a_graph_of_16_bits_is_served_as_float32(tmp_path):
    build(tmp_path, write(tmp_path, convert_float_to_float16(exported.model())))
    assert served(tmp_path).embed(["the food"]).vectors.dtype == np.float32


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    """Seal a graph whose scales depend on all that is in a run; return the folder of its directory."""
    directory = write(tmp_path)
    full = (directory / "onnx/model.onnx").read_bytes()
    exported.quantize(directory / "onnx/model.onnx")
    build(tmp_path, directory, full)
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_a_quantized_graphs_vectors_do_not_depend_on_the_batch(quantized, workers):
    content = (quantized / "models/tiny-onnx" / MODEL_FILE).read_bytes()
    together, apart = (exported.vectors(content, texts) for texts in (LETTERS, LETTERS[:1]))
    assert not np.array_equal(together[:1], apart)  # as others run it, they do
    alone = np.concatenate([served(quantized).embed([text]).vectors for text in LETTERS])
    np.testing.assert_array_equal(served(quantized, workers).embed(LETTERS).vectors, alone)
    np.testing.assert_array_equal(served(quantized, workers).embed(LETTERS[::-1]).vectors, alone[::-1])


def test_every_text_is_a_run_and_equal_ones_share_it(quantized, monkeypatch):
    embedder, shapes = served(quantized, 2), []
    run = embedder._runs._session.run

    def record(token_ids: NDArray[np.int64]) -> HiddenStates:
        shapes.append(token_ids.shape)
        return run(token_ids)

    monkeypatch.setattr(embedder._runs._session, "run", record)
    embedder.embed([*"abab", "the food was good"])
    assert sorted(shapes) == [(3, 1), (3, 1), (6, 1)]


def test_a_request_is_cancelled_between_two_texts(quantized, monkeypatch):
    embedder, runs = served(quantized), [0]
    run = embedder._runs._session.run

    def count(token_ids: NDArray[np.int64]) -> HiddenStates:
        runs[0] += 1
        return run(token_ids)

    monkeypatch.setattr(embedder._runs._session, "run", count)
    with pytest.raises(CancelledRequestError):
        embedder.embed(LETTERS, deadline=Deadline(0, is_cancelled=lambda: runs[0] > 2))
    assert runs == [3]


def test_a_long_text_is_read_in_windows(quantized):
    settings = Settings(artifacts=quantized / "models", workers=2)
    embedder = Embedder(load("tiny-onnx", settings), settings)
    assert embedder.embed(["a " * 25]).tokens == 25 + 3 * 2
    with pytest.raises(RequestError):
        embedder.embed(["a"], dimensions=tiny.HIDDEN + 1)


def test_a_graph_is_chosen_if_there_are_several(tmp_path):
    directory = write(tmp_path)
    onnx.save(exported.model(), directory / "onnx/model_quantized.onnx")
    with pytest.raises(
        SourceError, match=r"several graphs; choose one of them: FILE=onnx/model.onnx, FILE=onnx/model_"
    ):
        external.read(directory, None, None, {})
    with pytest.raises(
        SourceError, match=r"FILE is model.onnx, which it does not have; choose one of them: FILE=onnx/"
    ):
        external.read(directory, "model.onnx", None, {})
    assert external.read(directory, "onnx/model_quantized.onnx", None, {}).file == "onnx/model_quantized.onnx"


def with_external_data(path: Path) -> None:
    onnx.save(exported.model(), path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)


def with_external_data_in_a_constant(path: Path) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    graph = exported.model()
    graph.graph.node.append(helper.make_node("Constant", [], ["w"], value=tensor))
    path.write_bytes(graph.SerializeToString())


def with_external_data_in_a_function(path: Path) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8], data_location=TensorProto.EXTERNAL)
    nodes = [helper.make_node("Constant", [], ["w"], value=tensor)]
    graph = exported.model()
    graph.functions.append(helper.make_function("own", "Weights", [], ["w"], nodes, [helper.make_opsetid("", 17)]))
    path.write_bytes(graph.SerializeToString())


def with_chance(path: Path) -> None:
    graph = exported.model()
    graph.graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[1]))
    onnx.save(graph, path)


def with_a_fixed_length(path: Path) -> None:
    graph = exported.model()
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 128
    onnx.save(graph, path)


def with_inputs_of_32_bits(path: Path) -> None:
    graph = exported.model()
    graph.graph.input[1].type.tensor_type.elem_type = TensorProto.INT32
    onnx.save(graph, path)


def with_another_input(path: Path) -> None:
    graph = exported.model(inputs=("past_key_values",))
    onnx.save(graph, path)


def with_another_output(path: Path) -> None:
    onnx.save(exported.model("logits"), path)


def with_a_newer_opset(path: Path) -> None:
    graph = exported.model()
    graph.opset_import[0].version = 99
    onnx.save(graph, path)


def with_an_unknown_operator(path: Path) -> None:
    graph = exported.model()
    graph.graph.node[0].op_type = "Unheard"
    onnx.save(graph, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (with_external_data, r"its tensors are in another file, which has no digest; make it one file: python -c "),
        (with_external_data_in_a_constant, "its tensors are in another file"),
        (with_external_data_in_a_function, "its tensors are in another file"),
        (with_chance, r"it computes with random numbers \(RandomNormal\)"),
        (
            with_a_fixed_length,
            r"its input input_ids is INT64 \[0, 128\]; export it with inputs of INT64 \(texts, tokens",
        ),
        (with_inputs_of_32_bits, r"its input attention_mask is INT32 \[0, 0\]"),
        (with_another_input, "its inputs are input_ids, attention_mask, past_key_values .*; supported are the inputs "),
        (with_another_output, "its outputs logits; supported .* one of the outputs sentence_embedding, last_hidden_"),
        (with_a_newer_opset, "[Oo]pset"),
        (with_an_unknown_operator, "Unheard"),
        (cut, "it is no ONNX file"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused_in_one_line(tmp_path, spoil: Callable[[Path], None], words):
    directory = write(tmp_path)
    spoil(directory / "onnx/model.onnx")
    with pytest.raises(SourceError, match=words) as raised:
        external.read(directory, None, None, {})
    assert str(raised.value).startswith(f"{directory / 'onnx/model.onnx'}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("onnx/model.onnx", None, "there is no .onnx file in it, nor in its folder onnx"),
        ("tokenizer.json", None, "tokenizer.json: no such file"),
        ("config.json", None, "config.json: no such file"),
        ("config.json", {}, r'nothing says how many tokens the model reads; write \{"max_seq_length": 512\}'),
    ],
)
def test_a_directory_that_lacks_something_is_refused(tmp_path, file, content, words):
    directory = write(tmp_path)
    (directory / "sentence_bert_config.json").unlink()
    (directory / file).unlink()
    if content is not None:
        tiny.write_json(directory / file, content)
    with pytest.raises(SourceError, match=words):
        external.read(directory, None, None, {})


def test_a_module_behind_the_hidden_states_is_not_ignored(tmp_path):
    directory = write(tmp_path)
    dense = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    tiny.write_json(directory / "modules.json", [*tiny.MODULES[:2], dense])
    with pytest.raises(SourceError, match="Dense"):
        external.read(directory, None, None, {})


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta"}, 512),
        ({"max_position_embeddings": 512, "model_type": "another"}, 512),
        ({"max_position_embeddings": 10**6}, 8192),
    ],
)
def test_the_limit_is_that_of_the_positions_without_another(tmp_path, changes, tokens):
    directory = write(tmp_path)
    (directory / "sentence_bert_config.json").unlink()
    tiny.write_json(directory / "config.json", changes)
    assert external.read(directory, None, None, {}).max_tokens == tokens


def test_reference_vectors_decide(tmp_path):
    directory = write(tmp_path)
    other = exported.model(inputs=()).SerializeToString()
    with pytest.raises(VerificationError, match=r"golden: cosine_min is .*, below 0.999 for a float graph: pooling, "):
        build(tmp_path, directory, other)
    exported.quantize(directory / "onnx/model.onnx")
    with pytest.raises(
        VerificationError, match=r"golden: cosine_mean is .*, below 0.9 for a quantized graph: pooling, "
    ):
        build(tmp_path, directory, other)
    assert not (tmp_path / "models").exists()


def test_a_missing_normalization_is_noticed(tmp_path):
    directory = write(tmp_path)
    tiny.write_json(directory / "modules.json", tiny.MODULES[:2])
    with pytest.raises(VerificationError, match=r"golden: vectors have \d\.\d\d of the reference's length"):
        build(tmp_path, directory)


def test_spearmans_correlation_is_measured_if_there_are_pairs(tmp_path):
    model = external.read(write(tmp_path), None, None, {})
    reference = tiny.write_golden(
        tmp_path / "golden.json", exported.TEXTS, exported.vectors(model.content, exported.TEXTS)
    )
    lines = ["score\tsentence1\tsentence2", "5\tthe food\tthe food", "0\tz\tgood"]
    (tmp_path / "sts.tsv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    seal(model, Order(reference, tmp_path / "models/tiny-onnx", Origin(), tmp_path / "sts.tsv.gz"))
    measured = served(tmp_path).manifest.quality["sts-b-dev"]
    assert (measured["texts"], measured["spearman"]) == (4, 1.0)


def test_a_graph_that_lists_its_constants_as_inputs_is_served(tmp_path):
    graph = exported.model()
    graph.graph.input.extend(
        helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)) for each in graph.graph.initializer
    )
    build(tmp_path, write(tmp_path, graph))
    assert served(tmp_path).embed(["the food"]).tokens == 4


def test_a_graph_of_more_than_a_message_of_protobuf_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(external, "MAX_FILE_BYTES", 1000)
    with pytest.raises(SourceError, match=r"model.onnx: it has [\d,]+ bytes, and a model may have 1,000$"):
        external.read(write(tmp_path), None, None, {})


def test_reference_vectors_of_the_directorys_other_weights_are_refused(tmp_path):
    directory = write(tmp_path)
    (directory / "model.safetensors").write_bytes(b"other")
    with pytest.raises(SourceError, match="golden file was recorded from other weights than the directory has"):
        build(tmp_path, directory)


@pytest.mark.parametrize("rows", [2, 14])  # too few for a reference text, or only for the longest text
def test_a_graph_that_cannot_read_what_its_files_say_is_refused_in_one_line(tmp_path, rows):
    directory = write(tmp_path, exported.model(inputs=("position_ids",)))
    tiny.write_json(directory / "sentence_bert_config.json", {"max_seq_length": 16})
    graph = onnx.load(directory / "onnx/model.onnx")
    table = next(each for each in graph.graph.initializer if each.name == "position_ids.table")
    first = onnx.numpy_helper.to_array(table)[:rows]
    table.CopyFrom(onnx.numpy_helper.from_array(first, table.name))
    golden = (directory / "onnx/model.onnx").read_bytes()
    onnx.save(graph, directory / "onnx/model.onnx")
    with pytest.raises(SourceError, match=r"onnx/model.onnx cannot be run: .*indices") as raised:
        build(tmp_path, directory, golden)
    assert "\n" not in str(raised.value)
