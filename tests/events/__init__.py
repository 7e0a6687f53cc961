"""Lambda events of API Gateway and function URLs, in the formats that AWS documents, and access to responses."""

import base64
import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

KINDS = ("http-api-2.0", "rest-api-1.0", "function-url")


def event(
    kind: str,
    body: str | bytes = "",
    *,
    method: str = "POST",
    path: str = "/v1/embeddings",
    **headers: str,
) -> dict[str, Any]:
    """Return the event of a request; a body of bytes is base64-encoded, as the gateway does with binary bodies."""
    event: dict[str, Any] = json.loads(Path(__file__).with_name(f"{kind}.json").read_text())
    event["body"] = body if isinstance(body, str) else base64.b64encode(body).decode()
    event["isBase64Encoded"] = isinstance(body, bytes)
    event["headers"] |= headers
    if kind == "rest-api-1.0":
        event |= {"path": path, "httpMethod": method}
        event["multiValueHeaders"] |= {name: [value] for name, value in headers.items()}
    else:
        event["rawPath"] = path
        event["requestContext"]["http"] |= {"path": path, "method": method}
    return event


def context(seconds: float = 29.0) -> SimpleNamespace:
    """Return a Lambda context with this much time remaining."""
    return SimpleNamespace(aws_request_id="from-lambda", get_remaining_time_in_millis=lambda: seconds * 1000)


def headers(response: dict[str, Any]) -> dict[str, str]:
    """Return a response's headers, which payload format 1.0 has as lists."""
    return response.get("headers") or {name: values[0] for name, values in response["multiValueHeaders"].items()}


def content(response: dict[str, Any]) -> Any:
    """Return a response's body, parsed as JSON."""
    body = base64.b64decode(response["body"]) if response["isBase64Encoded"] else response["body"].encode()
    return json.loads(gzip.decompress(body) if headers(response).get("content-encoding") == "gzip" else body)
