"""The service's OpenAPI document, compared with the API document that it implements and with the service."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from handler.api import openapi, openapi_stored

API_DOCUMENT = json.loads(Path(__file__).with_name("embeddings.openapi.json").read_text())
POST = ("paths", "/v1/embeddings", "post")
REQUEST = (*POST, "requestBody", "content", "application/json", "schema")
RESPONSE = (*POST, "responses", "200", "content", "application/json", "schema")


@pytest.fixture
def document(app) -> dict[str, Any]:
    return openapi.build(app)


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
    assert {name for name, _ in our_properties - their_properties} <= {"input_type", "output_dtype"}


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


@pytest.fixture
def operations(document) -> dict[str, dict[str, Any]]:
    """Return the only operation of each path."""
    return {path: operation for path, by_method in document["paths"].items() for operation in by_method.values()}


def test_every_operation_documents_its_statuses(operations):
    assert all(operation["description"] for operation in operations.values())
    assert {path: set(operation["responses"]) for path, operation in operations.items()} == {
        "/v1/embeddings": {"200", "400", "404", "405", "413", "415", "431", "500", "503"},
        "/v1/models": {"200", "405", "431", "500"},
        "/v1/models/{model}": {"200", "404", "405", "431", "500", "503"},
        "/health": {"200", "405", "431", "500"},
    }


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models", "/v1/models/{model}", "/health"])
def test_errors_have_a_phrase_headers_a_schema_and_an_example(operations, path):
    for status, response in operations[path]["responses"].items():
        if status == "200":
            continue
        assert response["description"] == HTTPStatus(int(status)).phrase
        assert set(response["headers"]) == {"x-request-id"} | ({"retry-after"} if status == "503" else set())
        assert all(header["description"] for header in response["headers"].values())
        assert all(header["schema"] == {"type": "string"} for header in response["headers"].values())
        content = response["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
        assert set(content["example"]["error"]) == {"message", "type", "param", "code"}


def test_example_errors_are_those_of_the_service(operations, client):
    for path, operation in operations.items():
        assert client.delete(path).json() == operation["responses"]["405"]["content"]["application/json"]["example"]
    response = client.post("/v1/embeddings", json={"model": "tiny", "input": ["a", "a", "a", ""]})
    example = operations["/v1/embeddings"]["responses"]["400"]["content"]["application/json"]["example"]
    assert response.json() == example


def test_responses_have_the_documented_headers(operations, client):
    documented = {path: set(operation["responses"]["200"]["headers"]) for path, operation in operations.items()}
    assert documented.pop("/v1/embeddings") == {"x-request-id", "x-model-digest", "server-timing", "x-long-inputs"}
    assert all(headers == {"x-request-id"} for headers in documented.values())
    response = client.post("/v1/embeddings", json={"model": "tiny", "input": "a"})
    assert {"x-request-id", "x-model-digest", "server-timing"} <= set(response.headers)


def test_path_parameter_is_documented(document):
    (parameter,) = document["paths"]["/v1/models/{model}"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("model", "path", True)


def test_document_without_api_keys_mentions_none(document):
    assert "security" not in document
    assert "securitySchemes" not in document["components"]
    assert "security" not in document["paths"]["/health"]["get"]


def test_document_is_served_and_built_once(document, app, client):
    assert client.get("/openapi.json").json() == document
    assert app.openapi() is app.openapi()


def test_operations_on_files_and_batches_are_documented_where_they_are_served(document, stored_app, http):
    assert not [path for path in document["paths"] if path.startswith(("/v1/files", "/v1/uploads", "/v1/batches"))]
    stored = openapi.build(stored_app)
    new = {path: stored["paths"][path] for path in stored["paths"] if path not in document["paths"]}
    operations = {(path, method): new[path][method] for path in new for method in new[path]}
    assert set(operations) == {*openapi_stored.SUCCESS, openapi_stored.CONTENT}
    for (path, method), operation in operations.items():
        statuses = set(operation["responses"])
        assert operation["description"]
        assert {"200", "405", "431", "500", "503"} <= statuses
        assert ("404" in statuses) is ("{" in path)
        assert ("requestBody" in operation) is ("413" in statuses)
        assert ("429" in statuses) is (method == "post" and "{" not in path)
        not_allowed = operation["responses"]["405"]["content"]["application/json"]["example"]
        assert http.patch(path).json() == not_allowed
    headers = operations["/v1/batches", "post"]["responses"]["503"]["headers"]
    assert set(headers) == {"x-request-id", "retry-after"}
