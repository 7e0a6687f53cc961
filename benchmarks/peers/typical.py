"""A Lambda function with a typical cold start, for benchmarks.cold: everything at import, every option on."""

from pathlib import Path
from typing import Any

import boto3
import numpy as np
import onnxruntime as ort
from aws_lambda_powertools import Logger, Metrics, Tracer
from fastapi import FastAPI
from mangum import Mangum
from pydantic import BaseModel
from tokenizers import Tokenizer

FOLDER = Path(__file__).parents[2] / "model_artifacts/all-MiniLM-L6-v2"

logger, metrics, tracer = Logger(service="typical"), Metrics(namespace="typical"), Tracer(service="typical")
s3 = boto3.client("s3", region_name="us-east-1")
session = ort.InferenceSession(str(FOLDER / "model.onnx"))
tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
app = FastAPI()


class EmbeddingRequest(BaseModel):
    """The request body: one text."""

    model: str
    input: str


@app.post("/v1/embeddings")
def embed(body: EmbeddingRequest) -> dict[str, Any]:
    """Embed one text."""
    ids = np.array([tokenizer.encode(body.input).ids], np.int64).T
    (hidden_states,) = session.run(None, {"input_ids": ids})
    vector = hidden_states[:, 0].mean(0)
    vector /= np.linalg.norm(vector)
    return {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": vector.tolist()}]}


lambda_handler = Mangum(app)
