"""The objects in responses: descriptions of models, and the schemas of the OpenAPI document."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from handler.artifacts.manifest import OutputDtype
from handler.contract.schemas import INT32

LossByDimensions = dict[OutputDtype, dict[str, float]]

EXAMPLE_RESPONSE: JsonDict = {
    "object": "list",
    "data": [{"object": "embedding", "embedding": [0.0023064255, -0.009327292, -0.0028842222], "index": 0}],
    "model": "text-embedding-ada-002",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}


class Canary(BaseModel):
    """A text and the base64 of its vector, float32: an index that stores both can check later that nothing changed."""

    input: str
    embedding: str


class Scores(BaseModel):
    """Scores on pairs of STS-B: Spearman's correlation of cosine and human score, and recall among the first ten."""

    spearman: float
    recall_at_10: float


class Loss(BaseModel):
    """What vectors lose by `output_dtype` and by `dimensions`, compared with floats of all dimensions, on STS-B.

    `queries` and `documents` are the numbers of texts of the retrieval set; `sha256` is that of the file of pairs.
    """

    sha256: str
    queries: int
    documents: int
    reference: Scores
    spearman: LossByDimensions
    recall_at_10: LossByDimensions


class Model(BaseModel):
    """A served model; `root` is the ID that an alias stands for.

    Only GET /v1/models/{id} has a canary, and `calibration` and `loss` if the model's manifest has them.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "serverless-embeddings"
    root: str
    digest: str
    dimensions: int
    max_tokens: int
    canary: Canary | None = None
    calibration: dict[str, float] | None = None
    loss: Loss | None = None


class ModelList(BaseModel):
    """Every name that a request's `model` may have, and every ID with each of the model's prompts."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorDetail(BaseModel):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """Body of every error response."""

    error: ErrorDetail


class Embedding(BaseModel):
    """One input's vector: a list of numbers, or base64 of their little-endian bytes, both of the `output_dtype`."""

    object: Literal["embedding"]
    index: int = Field(ge=0, json_schema_extra=INT32)
    embedding: list[Annotated[float, Field(json_schema_extra={"format": "float"})]] | str


class Usage(BaseModel):
    """Tokens that the model read, special tokens included."""

    prompt_tokens: int = Field(ge=0, json_schema_extra=INT32)
    total_tokens: int = Field(ge=0, json_schema_extra=INT32)


class EmbeddingResponse(BaseModel):
    """Body of a successful POST /v1/embeddings."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE_RESPONSE})

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Health(BaseModel):
    """Body of GET /health."""

    status: Literal["ok"]
