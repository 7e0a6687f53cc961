"""pydantic's errors in OpenAI's words."""

from pydantic import ValidationError

from handler.errors import RequestError

MAX_ECHO = 100  # characters of a request in a message
REASONS = {"purpose": " Only files of batches are stored here.", "endpoint": " Only embeddings are served here."}


def from_validation(error: ValidationError) -> RequestError:
    """Map pydantic's first error to a RequestError in OpenAI's words."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = ".".join(str(part) for part in first["loc"]) or None
    match first["type"]:
        case "json_invalid":
            return RequestError(
                f"We could not parse the JSON body of your request: {first['msg']}", code="invalid_json"
            )
        case "missing":
            return RequestError(
                f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
            )
        case "model_type":
            return RequestError(
                'The request body must be a JSON object such as {"model": ..., "input": ...}.', code="invalid_type"
            )
        case _:
            return RequestError(f"Invalid value for '{param}': {first['msg']}.", param=param, code="invalid_value")


def invalid_request(error: ValidationError) -> RequestError:
    """Map pydantic's first error to a RequestError in OpenAI's words and with its codes."""
    first = error.errors(include_url=False)[0]
    param = ".".join(str(part) for part in first["loc"])[:MAX_ECHO]
    match first["type"]:
        case "literal_error":
            given, supported = str(first["input"])[:MAX_ECHO], first["ctx"]["expected"].replace(" or ", ", ")
            message = f"Invalid value: '{given}'. Supported values are: {supported}.{REASONS.get(param, '')}"
            return RequestError(message, param=param, code="invalid_value")
        case "value_error":
            return RequestError(str(first["ctx"]["error"]), param=param, code="invalid_value")
        case "missing" | "json_invalid":
            return from_validation(error)
        case "model_type" if not param:
            return RequestError("The request body must be a JSON object.", code="invalid_type")
        case kind:
            is_type = kind.endswith("_type")
            start = "Invalid type for" if is_type else "Invalid value for"
            code = "invalid_type" if is_type else "invalid_value"
            return RequestError(f"{start} '{param}': {first['msg']}.", param=param, code=code)
