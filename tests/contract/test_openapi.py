"""The service's OpenAPI document, compared with the API document that it implements and with the service."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

API_DOCUMENT = json.loads(Path(__file__).with_name("embeddings.openapi.json").read_text())
POST = ("paths", "/v1/embeddings", "post")
REQUEST = (*POST, "requestBody", "content", "application/json", "schema")
RESPONSE = (*POST, "responses", "200", "content", "application/json", "schema")


@pytest.fixture(scope="module")
def document(client) -> dict[str, Any]:
    content: dict[str, Any] = client.get("/openapi.json").json()
    return content


def canonical(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """Normalize a schema for comparison: resolve references, make alternatives a set, drop descriptions."""
    if "$ref" in schema:
        return canonical(at(document, schema["$ref"].removeprefix("#/").split("/")), document)
    alternatives = schema.get("oneOf") or schema.get("anyOf")
    if isinstance(schema.get("type"), list):
        alternatives = [{**schema, "type": kind} if kind != "null" else {"type": kind} for kind in schema["type"]]
    if alternatives:
        return frozenset(canonical(alternative, document) for alternative in alternatives)
    properties = schema.get("properties", {})
    return (
        schema["type"],
        schema.get("format"),
        schema.get("minimum"),
        frozenset(schema.get("enum", ())),
        frozenset(schema.get("required", ())),
        canonical(schema["items"], document) if "items" in schema else None,
        frozenset((name, canonical(each, document)) for name, each in properties.items()),
    )


def at(document: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    for key in path:
        document = document[key]
    return document


@pytest.mark.parametrize("path", [REQUEST, RESPONSE], ids=["request", "response"])
def test_schemas_match_the_api_document(document, path):
    ours, theirs = (canonical(at(each, path), each) for each in (document, API_DOCUMENT))
    *head, our_properties = ours
    *their_head, their_properties = theirs
    assert head == their_head
    assert their_properties <= our_properties
    assert {name for name, _ in our_properties - their_properties} <= {"input_type"}


def test_statuses_and_examples_include_those_of_the_api_document(document):
    ours, theirs = (at(each, POST) for each in (document, API_DOCUMENT))
    assert set(theirs["responses"]) < set(ours["responses"])
    assert (
        at(document, ["components", "schemas", "EmbeddingRequest"])["example"]
        == at(API_DOCUMENT, REQUEST[:-1])["example"]
    )
    assert (
        at(document, ["components", "schemas", "EmbeddingResponse"])["example"]
        == at(API_DOCUMENT, RESPONSE[:-1])["example"]
    )
    assert ours["requestBody"]["required"] is theirs["requestBody"]["required"] is True


def test_example_request_works(document, client):
    response = client.post("/v1/embeddings", json=document["components"]["schemas"]["EmbeddingRequest"]["example"])
    assert response.status_code == 200


def test_every_operation_documents_its_errors(document):
    for operations in document["paths"].values():
        for operation in operations.values():
            assert {"200", "405", "500"} <= set(operation["responses"])
            assert operation["description"]
