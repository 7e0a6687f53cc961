"""LiteLLM, which prevents the official client that it uses from requesting base64."""

import json
import time

import litellm
import pytest

from tests.clients.conftest import MODEL


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {}),
        ({"encoding_format": None}, {}),
        ({"extra_body": {"encoding_format": None}}, {"encoding_format": None}),  # LiteLLM's default until #38774
        ({"encoding_format": "float"}, {"encoding_format": "float"}),
    ],
)
def test_every_way_to_request_floats_gives_the_golden_vectors(relay, golden, options, sent):
    response = litellm.embedding(f"openai/{MODEL}", golden.texts[:10], api_base=relay.url, api_key="none", **options)
    golden.check([row["embedding"] for row in response.data])
    (body,) = relay.bodies
    assert {name: body[name] for name in body.keys() & {"encoding_format"}} == sent


def test_batch_gives_the_golden_vectors(url, golden):
    texts = golden.texts
    response = litellm.embedding(f"openai/{MODEL}", texts, api_base=url, api_key="none")
    golden.check([row["embedding"] for row in response.data])


def test_batch_of_requests_gives_the_golden_vectors(url, golden, tmp_path):
    connection = {"custom_llm_provider": "openai", "api_base": url, "api_key": "none"}
    body = {"model": MODEL, "input": golden.texts}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body}
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(line))
    with path.open("rb") as file:
        uploaded = litellm.create_file(file=file, purpose="batch", **connection)
    batch = litellm.create_batch(
        completion_window="24h", endpoint="/v1/embeddings", input_file_id=uploaded.id, **connection
    )
    while batch.status in {"validating", "in_progress", "finalizing"}:
        time.sleep(0.2)
        batch = litellm.retrieve_batch(batch_id=batch.id, **connection)
    assert batch.status == "completed"
    content = litellm.file_content(file_id=batch.output_file_id, **connection).content
    golden.check([row["embedding"] for row in json.loads(content)["response"]["body"]["data"]])
    assert batch.id in {each.id for each in litellm.list_batches(**connection).data}
    assert litellm.file_delete(file_id=uploaded.id, **connection).deleted
