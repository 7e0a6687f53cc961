"""Every output type, encoding and number of dimensions, of one or many texts: exactly what the floats give."""

import json
from base64 import b64decode
from functools import cache
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler.api.app import create_app
from handler.artifacts.manifest import OutputDtype
from handler.contract.responses import EncodingFormat
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny
from tests.events import content, context, event
from tests.fuzz import TEXTS, fuzz

DTYPES: dict[str, np.dtype[Any]] = {
    "float": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "binary": np.dtype("i1"),
    "ubinary": np.dtype("u1"),
}
COMBINATIONS = list(product(get_args(OutputDtype), get_args(EncodingFormat)))


def expected(floats: NDArray[np.float32], output_dtype: str) -> NDArray[Any]:
    """Return what docs/output-types.md says that an output type is."""
    scale = tiny.artifacts().manifest.calibration["int8"]
    int8: NDArray[np.float32] = np.clip(np.rint(floats * np.float32(scale * floats.shape[1] ** 0.5)), -127, 127)
    match output_dtype:
        case "float" | "float16":
            return floats.astype(DTYPES[output_dtype])
        case "int8" | "uint8":
            return (int8 + (128 if output_dtype == "uint8" else 0)).astype(DTYPES[output_dtype])
        case _:
            bits: NDArray[np.int64] = np.packbits(floats > 0, axis=1).astype(int)
            return (bits - (128 if output_dtype == "binary" else 0)).astype(DTYPES[output_dtype])


@cache
def function() -> LambdaHandler:
    settings = Settings(workers=2, auth_mode="none", token_input="native")
    return LambdaHandler(create_app(settings, Catalog.of([tiny.embedder(settings)], settings)))


def embed(**fields: object) -> list[Any]:
    asked = event("http-api-2.0", json.dumps({"model": "tiny", **fields}))
    del asked["headers"]["x-stainless-lang"]  # of OpenAI's client, to which base64 of other types is refused
    response = function()(asked, context())
    assert response["statusCode"] == 200, response
    return [row["embedding"] for row in content(response)["data"]]


@pytest.mark.parametrize(("output_dtype", "encoding_format"), COMBINATIONS)
@fuzz(texts=st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=5)), eighth=st.integers(0, tiny.HIDDEN // 8))
def test_every_combination_decodes_to_what_the_floats_give(
    output_dtype: str, encoding_format: str, texts: str | list[str], eighth: int
) -> None:
    asked: dict[str, object] = {"input": texts, "dimensions": 8 * eighth}
    floats = np.array(embed(**asked), np.float32)
    rows = embed(**asked, output_dtype=output_dtype, encoding_format=encoding_format)
    if encoding_format == "base64":
        rows = [np.frombuffer(b64decode(row, validate=True), DTYPES[output_dtype]) for row in rows]
    elif "int" in str(DTYPES[output_dtype]):
        assert all(type(component) is int for row in rows for component in row)
    decoded = np.array(rows, DTYPES[output_dtype])
    assert decoded.tobytes() == expected(floats, output_dtype).tobytes()
