"""Responses of GET /v1/models and GET /v1/models/{id}; their validators are built by the first of them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from handler.artifacts.manifest import OutputDtype

LAZY = ConfigDict(defer_build=True)
LossByDimensions = dict[OutputDtype, dict[str, float]]


class Canary(BaseModel):
    """A text and the base64 of its vector, float32: an index that stores both can check later that nothing changed."""

    model_config = LAZY

    input: str
    embedding: str


class Scores(BaseModel):
    """Scores on pairs of STS-B: Spearman's correlation of cosine and human score, and recall among the first ten."""

    model_config = LAZY

    spearman: float
    recall_at_10: float


class Loss(BaseModel):
    """What vectors lose by `output_dtype` and by `dimensions`, compared with floats of all dimensions, on STS-B.

    `queries` and `documents` are the numbers of texts of the retrieval set; `sha256` is that of the file of pairs.
    """

    model_config = LAZY

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

    model_config = LAZY

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

    model_config = LAZY

    object: Literal["list"] = "list"
    data: list[Model]
