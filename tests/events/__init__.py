"""Events as API Gateway and function URLs send them to Lambda, in the shape that AWS documents, and their answers."""

import base64
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
    """Return the event of a request; bytes go as base64, as the gateway sends what it takes for binary."""
    made: dict[str, Any] = json.loads(Path(__file__).with_name(f"{kind}.json").read_text())
    made["body"] = body if isinstance(body, str) else base64.b64encode(body).decode()
    made["isBase64Encoded"] = isinstance(body, bytes)
    made["headers"] |= headers
    if kind == "rest-api-1.0":
        made |= {"path": path, "httpMethod": method}
        made["multiValueHeaders"] |= {name: [value] for name, value in headers.items()}
    else:
        made["rawPath"] = path
        made["requestContext"]["http"] |= {"path": path, "method": method}
    return made


def context(seconds: float = 29.0) -> SimpleNamespace:
    """Return what Lambda hands over beside an event, with so much time left."""
    return SimpleNamespace(aws_request_id="from-lambda", get_remaining_time_in_millis=lambda: seconds * 1000)


def headers(answer: dict[str, Any]) -> dict[str, str]:
    """Return an answer's headers, which payload 1.0 has in lists."""
    return answer.get("headers") or {name: values[0] for name, values in answer["multiValueHeaders"].items()}


def content(answer: dict[str, Any]) -> Any:
    """Return the JSON of an answer's body."""
    body = answer["body"]
    return json.loads(base64.b64decode(body) if answer["isBase64Encoded"] else body)
