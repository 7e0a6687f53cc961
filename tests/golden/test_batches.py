"""Batches with the bundled model: the golden vectors, bit for bit."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest

from handler.api.app import create_app
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests.conftest import serve
from tests.unit.bulk.batches import create, jsonl, line, results, run

SETTINGS = Settings(auth_mode="none")
MODEL = "text-embedding-3-small"


@pytest.mark.parametrize("inputs", [1, 5])
def test_vectors_and_bodies_are_those_of_online_requests(tmp_path: Path, embedder, golden, inputs):
    catalog = Catalog.of([embedder(2)], replace(SETTINGS, aliases=(MODEL,)))
    texts = [golden.texts[start : start + inputs] for start in range(0, len(golden.texts), inputs)]
    lines = [line(str(number), each, model=MODEL, encoding_format="base64") for number, each in enumerate(texts)]
    folder = create(tmp_path, jsonl(lines))
    output, errors = results(folder, run(folder, catalog))
    assert errors == []
    vectors = [
        np.frombuffer(base64.b64decode(each["embedding"]), "<f4")
        for row in sorted(output, key=lambda row: int(row["custom_id"]))
        for each in row["response"]["body"]["data"]
    ]
    expected = embedder(1).embed(golden.texts).vectors
    assert np.array_equal(np.array(vectors).view(np.int32), expected.view(np.int32))
    with serve(create_app(SETTINGS, catalog)) as url:
        for row, asked in zip(output, lines, strict=True):
            online = httpx2.post(f"{url}/v1/embeddings", json=asked["body"], timeout=60)
            assert json.dumps(row["response"]["body"]) == json.dumps(online.json())
