"""Vectors to the response body."""

from binascii import b2a_base64
from typing import Any, Literal

import orjson
from numpy.typing import NDArray

from handler.artifacts.manifest import DIGEST_MARK
from handler.embedding.prompts import MARK

EncodingFormat = Literal["float", "base64"]


def response_model(requested: str, model_id: str, prompt: str, digest: str) -> str:
    """Return a response's `model`: the ID, with the prompt and the digest that the request's has."""
    name = f"{model_id}{MARK}{prompt}" if prompt else model_id
    return f"{name}{DIGEST_MARK}{digest}" if DIGEST_MARK in requested else name


def encode_response(vectors: NDArray[Any], *, model: str, tokens: int, encoding_format: EncodingFormat) -> bytes:
    """Return OpenAI's response for vectors of an output type (inputs, components), as JSON.

    `float` prints integers, or the shortest decimals that read back as the same float32 (orjson does) or float16;
    `base64` is standard base64 of the little-endian components, what the official clients ask for by default.
    """
    embeddings: Any = vectors
    if encoding_format == "base64":
        embeddings = map(encode_base64, vectors)  # all processors that it runs on are little-endian
    elif vectors.itemsize == 2:  # float16; comparing types takes longer
        from handler.embedding.quantization import shortest_decimals

        embeddings = shortest_decimals(vectors)
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


def encode_base64(vector: NDArray[Any]) -> str:
    """Return the base64 of the bytes of one vector (components,)."""
    return b2a_base64(vector.data, newline=False).decode("ascii")
