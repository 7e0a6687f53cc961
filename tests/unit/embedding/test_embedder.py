import threading
import time
from dataclasses import replace
from typing import Any, NoReturn, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from handler.artifacts.manifest import OutputDtype
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder
from handler.embedding.inference import InferenceSession
from handler.embedding.pooling import HiddenStates, l2_normalize
from handler.embedding.quantization import convert
from handler.errors import ArtifactError, RequestError, UnavailableError
from handler.settings import Settings
from tests import tiny
from tests.clock import replace_clock

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
TEXTS = ["the food was good", "a", "a b c d e f g h i j k l m", "the foods .", "z z"]


def test_embed_returns_one_unit_float32_vector_per_input():
    embedder, started = tiny.embedder(), time.perf_counter()
    embeddings = embedder.embed(TEXTS)
    elapsed = time.perf_counter() - started
    assert embeddings.vectors.shape == (len(TEXTS), tiny.HIDDEN)
    assert embeddings.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=1e-6)
    assert list(embeddings.timings) == ["tokenize", "infer"]
    assert all(0 < seconds < elapsed for seconds in embeddings.timings.values())


def test_token_count_includes_special_tokens():
    assert tiny.embedder().embed(["a b", "the food"]).tokens == 8
    assert tiny.embedder().embed([[2, 4, 3]]).tokens == 3


@pytest.mark.parametrize("workers", [1, 2, 6])
@pytest.mark.parametrize("tokens", range(1, tiny.MAX_TOKENS + 1))
def test_vector_does_not_depend_on_the_rest_of_its_micro_batch(tokens, workers):
    together, alone = tiny.embedder(workers), tiny.embedder(1)
    texts = np.random.default_rng(tokens).integers(4, len(tiny.WORDS), (41, tokens)).tolist()
    expected = np.concatenate([alone.embed([text]).vectors for text in texts])
    np.testing.assert_array_equal(together.embed(texts).vectors, expected)


def test_equal_inputs_run_through_the_model_once(monkeypatch):
    embedder = tiny.embedder(1)
    shapes = []
    run = embedder._runs._session.run

    def recording_run(token_ids: NDArray[np.int64]) -> HiddenStates:
        shapes.append(token_ids.shape)
        return run(token_ids)

    monkeypatch.setattr(embedder._runs._session, "run", recording_run)
    embeddings = embedder.embed(["a", "the food", "a", "A", "a"])
    assert shapes == [(4, 1), (3, 1)]  # the longest first
    assert embeddings.tokens == 4 * 3 + 4
    np.testing.assert_array_equal(embeddings.vectors[[0, 2, 3]], embeddings.vectors[[4, 4, 4]])


@pytest.mark.parametrize("workers", [1, 2])
def test_failed_inference_fails_its_request_and_not_the_next(monkeypatch, workers):
    embedder = tiny.embedder(workers)
    expected = embedder.embed(TEXTS).vectors
    attempted = []

    def fail(token_ids) -> NoReturn:
        attempted.append(token_ids)
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(embedder._runs._session, "run", fail)
        with pytest.raises(MemoryError):
            embedder.embed(TEXTS)
    assert len(attempted) <= workers
    np.testing.assert_array_equal(embedder.embed(TEXTS).vectors, expected)


def test_error_in_a_helper_thread_fails_the_request(monkeypatch):
    monkeypatch.setattr(InferenceSession, "batch_tokens", 1)  # one text in each micro-batch
    embedder = tiny.embedder(2)
    helper_failed = threading.Event()
    run, runs = embedder._runs._session.run, []

    def fail_in_helper(token_ids: NDArray[np.int64]) -> HiddenStates:
        if threading.current_thread() is not threading.main_thread():
            helper_failed.set()
            raise MemoryError
        assert helper_failed.wait(10)
        time.sleep(0.01)
        runs.append(token_ids)
        return run(token_ids)

    monkeypatch.setattr(embedder._runs._session, "run", fail_in_helper)
    with pytest.raises(MemoryError):
        embedder.embed(LETTERS)
    assert len(runs) < len(LETTERS) - 1


def test_failed_request_waits_for_its_helper_threads(monkeypatch):
    embedder = tiny.embedder(2)
    helper_started, helper_ended = threading.Event(), threading.Event()
    run = embedder._runs._session.run

    def fail_in_caller(token_ids: NDArray[np.int64]) -> HiddenStates:
        if threading.current_thread() is threading.main_thread():
            assert helper_started.wait(10)
            raise MemoryError
        helper_started.set()
        time.sleep(0.05)
        helper_ended.set()
        return run(token_ids)

    monkeypatch.setattr(embedder._runs._session, "run", fail_in_caller)
    with pytest.raises(MemoryError):
        embedder.embed(TEXTS)
    assert helper_ended.is_set()


def test_single_text_wakes_no_helper_thread(monkeypatch):
    embedder = tiny.embedder(2)
    monkeypatch.setattr(embedder._runs._executor, "submit", lambda _: pytest.fail("a helper was woken"))
    assert embedder.embed(["a"]).tokens == 3


def test_no_text_is_embedded_after_the_deadline():
    with pytest.raises(UnavailableError):
        tiny.embedder(1).embed(["a"], deadline=Deadline(0, 0))


def test_request_that_cannot_meet_its_deadline_is_rejected(monkeypatch):
    monkeypatch.setattr(InferenceSession, "batch_tokens", 1)
    embedder = tiny.embedder(1)
    run, now = embedder._runs._session.run, 1000.0
    replace_clock(monkeypatch, lambda: now, "handler.embedding.deadline", "handler.embedding.runs")

    def take_a_second(token_ids: NDArray[np.int64]) -> HiddenStates:
        nonlocal now
        now += 1
        return run(token_ids)

    monkeypatch.setattr(embedder._runs._session, "run", take_a_second)
    with pytest.raises(RequestError, match=r"26 inputs of 78 tokens take longer than the 13 seconds .* about 10 of"):
        embedder.embed(LETTERS, deadline=Deadline(now, now + 13))


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_vector_does_not_depend_on_the_other_inputs(workers):
    alone = np.concatenate([tiny.embedder(1).embed([text]).vectors for text in TEXTS])
    together = tiny.embedder(workers).embed([*TEXTS, *reversed(TEXTS)]).vectors
    np.testing.assert_array_equal(together, np.concatenate([alone, alone[::-1]]))


def test_native_token_ids_give_the_vector_of_their_text():
    ids = [tiny.OPENING, tiny.WORDS.index("the"), tiny.WORDS.index("food"), tiny.CLOSING]
    embedder = tiny.embedder()
    np.testing.assert_array_equal(embedder.embed([ids]).vectors, embedder.embed(["the food"]).vectors)


@pytest.mark.parametrize("dimensions", [None, 0, tiny.HIDDEN])
def test_absent_zero_and_native_dimensions_give_the_full_vector(dimensions):
    embedder = tiny.embedder()
    np.testing.assert_array_equal(embedder.embed(TEXTS, dimensions).vectors, embedder.embed(TEXTS).vectors)


@pytest.mark.parametrize("normalize", [True, False])
def test_fewer_dimensions_truncate_and_renormalize_the_vector(normalize):
    embedder = tiny.embedder(normalize=normalize)
    native, short = (embedder.embed(TEXTS, dimensions).vectors for dimensions in (None, 8))
    expected = native[:, :8] / np.linalg.norm(native[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(short, expected, atol=1e-6)


@pytest.mark.parametrize("dimensions", [-1, tiny.HIDDEN + 1])
def test_embed_rejects_invalid_dimensions(dimensions):
    with pytest.raises(RequestError, match=f"not between 1 and {tiny.HIDDEN}") as raised:
        tiny.embedder().embed(TEXTS, dimensions)
    assert (raised.value.param, raised.value.code) == ("dimensions", "invalid_value")


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dimensions", [None, 8])
@pytest.mark.parametrize("output_dtype", get_args(OutputDtype))
def test_output_types_convert_the_float_vectors(normalize, dimensions, output_dtype):
    embedder = tiny.embedder(normalize=normalize)
    floats = embedder.embed(TEXTS, dimensions).vectors
    if output_dtype in {"int8", "uint8"} and not normalize:
        floats = l2_normalize(floats) if dimensions is None else floats
    converted = embedder.embed(TEXTS, dimensions, output_dtype=output_dtype).vectors
    expected = convert(floats, output_dtype, embedder.manifest.calibration["int8"])
    assert converted.dtype == expected.dtype
    np.testing.assert_array_equal(converted, expected)


@pytest.mark.parametrize("output_dtype", ["binary", "ubinary"])
def test_bits_need_dimensions_that_fill_bytes(output_dtype):
    with pytest.raises(RequestError, match=f"'dimensions': 12 is not a multiple of 8, as .*'{output_dtype}'") as raised:
        tiny.embedder().embed(TEXTS, 12, output_dtype=output_dtype)
    assert (raised.value.param, raised.value.code) == ("dimensions", "invalid_value")


@pytest.mark.parametrize("output_dtype", ["int8", "uint8"])
def test_model_without_calibration_refuses_int8_and_nothing_else(output_dtype):
    embedder = tiny.embedder(calibration={})
    with pytest.raises(RequestError, match=f"'tiny' is not calibrated for '{output_dtype}'.*: rebuild it") as raised:
        embedder.embed(TEXTS, output_dtype=output_dtype)
    assert (raised.value.param, raised.value.code) == ("output_dtype", "invalid_value")
    for other in ("float", "float16", "binary", "ubinary"):
        embedder.embed(TEXTS, output_dtype=other)


def test_pooling_and_normalization_follow_the_manifest():
    raw = tiny.embedder(normalize=False).embed(TEXTS).vectors
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1)
    assert not np.allclose(tiny.embedder(pooling="cls").embed(TEXTS).vectors, tiny.embedder().embed(TEXTS).vectors)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("component", [np.nan, np.inf])
def test_embed_raises_instead_of_returning_nan_or_infinity(monkeypatch, normalize, component):
    hidden_states = np.full((3, 1, tiny.HIDDEN), component, np.float32)
    monkeypatch.setattr("handler.embedding.inference.InferenceSession.run", lambda *_: hidden_states)
    with pytest.raises(FloatingPointError):
        tiny.embedder(1, normalize=normalize).embed(["a"])


def test_invalid_model_files_raise_an_artifact_error():
    with pytest.raises(ArtifactError, match="model 'tiny' cannot be loaded"):
        Embedder(replace(tiny.artifacts(), model=b"not a graph"), Settings())
    with pytest.raises(ArtifactError, match="model 'tiny' cannot be loaded"):
        Embedder(replace(tiny.artifacts(), tokenizer=b"{}"), Settings())


def test_graph_with_another_input_layout_is_rejected():
    texts_first = tiny.artifacts().model[:].replace(b"\n\x08\x12\x06tokens", b"\n\x08\x12\x06tokenz")
    with pytest.raises(ArtifactError, match=r"'tiny' cannot be loaded: its input has the layout .*make model"):
        Embedder(replace(tiny.artifacts(), model=texts_first), Settings())


def ending_in(operator: str, *axes: int, **attributes: Any) -> Embedder:
    """Return the tiny model, with a last operator that changes its hidden states."""
    model = onnx.load_from_string(tiny.artifacts().model[:])
    for node in model.graph.node:
        node.output[:] = ["states" if name == "last_hidden_state" else name for name in node.output]
    inputs = ["states", "axes"] if axes else ["states"]
    model.graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes))
    model.graph.node.append(helper.make_node(operator, inputs, ["last_hidden_state"], **attributes))
    model.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info("last_hidden_state"))
    return Embedder(replace(tiny.artifacts(), model=model.SerializeToString()), Settings())


@pytest.mark.parametrize(
    ("make", "output"),
    [
        (lambda: ending_in("ReduceMean", 2), r"float32 \(3, 1, 1\)"),  # one column, which NumPy would broadcast
        (lambda: ending_in("ReduceMean", 2, keepdims=0), r"float32 \(3, 1\)"),
        (lambda: ending_in("ReduceMean", 0), r"float32 \(1, 1, 32\)"),
        (lambda: ending_in("Transpose", perm=[1, 0, 2]), r"float32 \(1, 3, 32\)"),
        (lambda: ending_in("Cast", to=TensorProto.DOUBLE), r"float64 \(3, 1, 32\)"),
    ],
)
def test_hidden_states_of_another_shape_or_type_are_refused(make, output):
    embedder = make()
    message = rf"its output is {output}, not float32 \(3, 1, 32\)"
    with pytest.raises(ArtifactError, match=f"^model 'tiny' cannot be run: {message}; rebuild it"):
        embedder.warm_up()
    with pytest.raises(ValueError, match=message):
        embedder.embed(["a"])


def test_warm_up_compares_the_output_with_the_manifest():
    tiny.embedder().warm_up()
    with pytest.raises(ArtifactError, match=r"not float32 \(3, 1, 33\)"):
        tiny.embedder(dimensions=33).warm_up()


def test_panic_of_the_tokenizer_is_an_artifact_error():
    with pytest.raises(ArtifactError, match=r"'tiny' cannot be loaded: Precompiled: .*; rebuild it with make model"):
        Embedder(replace(tiny.artifacts(), tokenizer=tiny.panicking("load")), Settings())
    embedder = Embedder(replace(tiny.artifacts(), tokenizer=tiny.panicking("encode")), Settings())
    with pytest.raises(ArtifactError, match="'tiny' cannot be run: chunk size must be non-zero; rebuild"):
        embedder.warm_up()


def test_windows_are_averaged_with_their_token_counts_as_weights():
    embedder = tiny.embedder(Settings(long_input="window"))
    text = "a b c d e f g h i j k l m n o p q r s t"
    embeddings = embedder.embed([text, "a"])
    assert (embeddings.tokens, embeddings.long_inputs) == (16 + 8 + 3, 1)
    (hidden,) = [
        np.concatenate([embedder._runs._session.run(np.array([window]).T) for window in encoding.windows])
        for encoding in embedder._tokenizer.encode([text])
    ]
    mean = hidden[:, 0].mean(axis=0)
    np.testing.assert_allclose(embeddings.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_prompt_name_selects_the_models_prompt():
    embedder = tiny.embedder(1, prompts={"query": "the "})
    prompted, plain = embedder.embed(["food"], prompt_name="query").vectors, embedder.embed(["the food"]).vectors
    np.testing.assert_array_equal(prompted, plain)
    unprompted = embedder.embed(["food"]).vectors
    for name in (None, "passage"):
        np.testing.assert_array_equal(embedder.embed(["food"], prompt_name=name).vectors, unprompted)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cached_vector_is_the_same_and_does_not_run_again(workers, monkeypatch):
    embedder, fresh = tiny.embedder(Settings(workers=workers, vector_cache=1 << 20)), tiny.embedder(1)
    expected = fresh.embed(TEXTS)
    assert embedder.embed(TEXTS[:3], cache=True).cached == 0
    mixed = embedder.embed([*TEXTS, TEXTS[1]], cache=True)
    assert mixed.cached == fresh.embed([*TEXTS[:3], TEXTS[1]]).tokens  # a text that comes twice was read twice
    np.testing.assert_array_equal(mixed.vectors, expected.vectors[[0, 1, 2, 3, 4, 1]])
    monkeypatch.setattr(embedder._runs._session, "run", None)
    again = embedder.embed(TEXTS[::-1], dimensions=2, cache=True)
    assert again.cached == again.tokens == expected.tokens
    np.testing.assert_array_equal(again.vectors, fresh.embed(TEXTS[::-1], dimensions=2).vectors)


def test_windows_of_a_long_text_are_cached():
    embedder = tiny.embedder(Settings(vector_cache=1 << 20))
    first, again = (embedder.embed(["a b " * tiny.MAX_TOKENS], cache=True) for _ in range(2))
    assert (first.cached, again.cached) == (0, first.tokens)
    np.testing.assert_array_equal(again.vectors, first.vectors)


def test_a_prompt_is_part_of_what_is_cached():
    embedder = tiny.embedder(Settings(vector_cache=1 << 20), prompts={"query": "the "})
    plain, prompted = (embedder.embed(["food"], prompt_name=name, cache=True) for name in (None, "query"))
    assert prompted.cached == 0
    assert (plain.vectors != prompted.vectors).any()


@pytest.mark.parametrize(("limit", "cache"), [(0, True), (1 << 20, False)])
def test_without_a_cache_each_text_runs_again(limit, cache):
    embedder = tiny.embedder(Settings(vector_cache=limit))
    embedder.embed(TEXTS, cache=True)
    assert embedder.embed(TEXTS, cache=cache).cached == 0


def test_what_failed_is_not_cached(monkeypatch):
    embedder = tiny.embedder(Settings(vector_cache=1 << 20))
    with monkeypatch.context() as patch:
        patch.setattr(embedder._runs._session, "run", None)
        with pytest.raises(TypeError):
            embedder.embed(TEXTS, cache=True)
    assert embedder.embed(TEXTS, cache=True).cached == 0
