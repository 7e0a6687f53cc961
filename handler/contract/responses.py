"""Vectors to the response body, which has to fit what Lambda can return."""

import math
from binascii import b2a_base64
from typing import Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from handler.errors import RequestError

EncodingFormat = Literal["float", "base64"]

# Of a synchronous invocation, headers and the escapes of the body's quotes included
# (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MB; the runtime refuses at 6,291,556 bytes).
RESPONSE_LIMIT = 6_291_556
ENVELOPE_BYTES = 2_048
ROW_BYTES = 64


def check_fits(inputs: int, dimensions: int, encoding_format: EncodingFormat) -> None:
    """Refuse, before any work is done, what Lambda could not return.

    Raises:
        RequestError: says how many vectors fit.
    """
    fitting = _most_vectors(dimensions, encoding_format)
    if inputs > fitting:
        raise RequestError(
            f"{inputs} vectors of {dimensions} dimensions as {encoding_format} exceed a response's {RESPONSE_LIMIT:,} "
            f"bytes: {fitting} fit, or {_most_vectors(dimensions, 'base64')} with encoding_format 'base64'; send "
            "fewer inputs in a request, or ask for fewer dimensions.",
            param="input",
            code="response_too_large",
        )


def _most_vectors(dimensions: int, encoding_format: EncodingFormat) -> int:
    if encoding_format == "base64":
        vector_bytes = -(-4 * dimensions // 3) * 4.0
    else:
        # A component as text, with its comma: 12.24 bytes were measured on average at 384 dimensions; every further
        # leading zero is a byte, and components shrink with the square root of their number.
        vector_bytes = dimensions * (12.3 + max(0, math.log10(dimensions / 384) / 2))
    return int((RESPONSE_LIMIT - ENVELOPE_BYTES) / (ROW_BYTES + vector_bytes))


def encode_response(vectors: NDArray[np.float32], *, model: str, tokens: int, encoding_format: EncodingFormat) -> bytes:
    """Return OpenAI's response for vectors, float32 (inputs, dimensions), as JSON.

    `float` prints every component as the shortest decimal that reads back as the same float32 (orjson does);
    `base64` is standard base64 of little-endian float32, what the official clients ask for by default.
    """
    embeddings = map(_base64, vectors.astype("<f4", copy=False)) if encoding_format == "base64" else vectors
    return orjson.dumps(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": embedding}
                for index, embedding in enumerate(embeddings)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _base64(vector: NDArray[np.float32]) -> str:
    return b2a_base64(vector.data, newline=False).decode("ascii")
