"""Vectors to the response body."""

from binascii import b2a_base64
from typing import Literal

import numpy as np
import orjson
from numpy.typing import NDArray

EncodingFormat = Literal["float", "base64"]


def encode_response(vectors: NDArray[np.float32], *, model: str, tokens: int, encoding_format: EncodingFormat) -> bytes:
    """Return OpenAI's response for vectors, float32 (inputs, dimensions), as JSON.

    `float` prints every component as the shortest decimal that reads back as the same float32 (orjson does);
    `base64` is standard base64 of little-endian float32, what the official clients ask for by default.
    """
    embeddings = map(encode_base64, vectors.astype("<f4", copy=False)) if encoding_format == "base64" else vectors
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


def encode_base64(vector: NDArray[np.float32]) -> str:
    """Return the base64 of the bytes of one vector, float32 (dimensions,)."""
    return b2a_base64(vector.data, newline=False).decode("ascii")
