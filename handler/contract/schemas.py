"""Requests of the OpenAI embeddings contract, and the limits on their fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic.config import JsonDict

from handler.artifacts.manifest import DIGEST_MARK, MAX_NAME, OutputDtype
from handler.contract.body import parse_json
from handler.contract.responses import EncodingFormat
from handler.contract.validation import from_validation
from handler.embedding.cl100k import MAX_CHARACTERS
from handler.errors import RequestError

MAX_INPUTS = 2048
# OpenAI accepts 8192 tokens in an input. Characters are limited as well, since time and memory depend on them: one text
# of 6 MB became 1.4 GB of tokens, only to be refused.
MAX_TOKEN_IDS = 8192
MAX_MODEL = 2 * MAX_NAME + len(DIGEST_MARK) + 64  # with the name of a prompt
MAX_INT32 = 2**31 - 1  # the API document's int32

INT32: JsonDict = {"format": "int32"}
TokenId = Annotated[int, Field(ge=0, json_schema_extra=INT32)]
Texts = list[str]
TokenArrays = list[list[int]]


def parse_input(value: object) -> Texts | TokenArrays:
    """Return a request's input as one list: of texts, or of token arrays.

    Raises:
        RequestError: the value is not one of the API's four forms, or an input is empty.
    """
    if isinstance(value, str):
        return _checked_texts([value], single=True)
    if not isinstance(value, list):
        raise _wrong_type("input", "a string, a list of strings, a list of token IDs, or a list of such lists")
    if not value:
        raise RequestError(
            "Invalid 'input': it is an empty list; send at least one input.", param="input", code="empty_input"
        )
    if type(value[0]) is int:
        return [_checked_tokens(value, "input")]
    if len(value) > MAX_INPUTS:
        raise RequestError(
            f"Invalid 'input': {len(value)} inputs, and a request takes at most {MAX_INPUTS}; send several requests.",
            param="input",
            code="too_many_inputs",
        )
    if isinstance(value[0], list):
        return [_checked_tokens(item, f"input.{index}") for index, item in enumerate(value)]
    return _checked_texts(value)


def _checked_texts(values: list[object], *, single: bool = False) -> Texts:
    texts: Texts = []
    for index, value in enumerate(values):
        param = "input" if single else f"input.{index}"
        if not isinstance(value, str):
            raise _wrong_type(
                param, "a string, like the inputs before it" if index else "a string or a list of token IDs"
            )
        if not value:
            raise RequestError(f"Invalid '{param}': it is an empty string.", param=param, code="empty_input")
        if len(value) > MAX_CHARACTERS:
            raise _too_long(param, f"{len(value):,} characters", f"{MAX_CHARACTERS:,}")
        texts.append(value)
    return texts


def _checked_tokens(values: object, param: str) -> list[int]:
    if not isinstance(values, list):
        raise _wrong_type(param, "a list of token IDs, like the inputs before it")
    if not values:
        raise RequestError(f"Invalid '{param}': it is an empty list of token IDs.", param=param, code="empty_input")
    if len(values) > MAX_TOKEN_IDS:
        raise _too_long(param, f"{len(values):,} token IDs", f"{MAX_TOKEN_IDS:,}")
    for index, value in enumerate(values):
        if type(value) is not int or not 0 <= value <= MAX_INT32:
            raise _wrong_type(f"{param}.{index}", f"a token ID, an integer from 0 to {MAX_INT32}")
    return values


def _too_long(param: str, size: str, limit: str) -> RequestError:
    return RequestError(
        f"Invalid '{param}': it has {size}, and at most {limit} are accepted; split it.",
        param=param,
        code="input_too_long",
    )


def _wrong_type(param: str, expected: str) -> RequestError:
    return RequestError(f"Invalid type for '{param}': expected {expected}.", param=param, code="invalid_type")


EXAMPLE_TEXT = "The food was delicious and the waiter..."
EXAMPLE_REQUEST: JsonDict = {
    "input": EXAMPLE_TEXT,
    "model": "text-embedding-ada-002",
    "encoding_format": "float",
}


class EmbeddingRequest(BaseModel):
    """Body of POST /v1/embeddings. Fields of other servers, such as `truncate`, are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, json_schema_extra={"example": EXAMPLE_REQUEST})

    model: str = Field(
        max_length=MAX_MODEL,
        description="ID or alias of a model; `:<prompt>` may follow, as `input_type`, and then `@sha256:<digest>`.",
    )
    input: Annotated[
        Texts | TokenArrays,
        PlainValidator(parse_input, json_schema_input_type=str | list[str] | list[TokenId] | list[list[TokenId]]),
        Field(
            description="A text, a list of texts, a list of token IDs, or a list of such lists; at most 2048 inputs."
        ),
    ]
    dimensions: Annotated[int, Field(ge=0, le=MAX_INT32, json_schema_extra=INT32)] | None = Field(
        None, description="Keep this many components; null or 0 for all."
    )
    encoding_format: EncodingFormat | None = Field(None, description="`float` (the default) or `base64`.")
    output_dtype: OutputDtype | None = Field(
        None, description="Type of the components, `float` by default; `binary` and `ubinary` pack 8 into a byte."
    )
    user: str | None = Field(None, description="Accepted, and neither used nor logged.")
    input_type: str | None = Field(
        None, description="`query`, `passage` or another prompt of the model; without effect if it has none for it."
    )

    @classmethod
    def parse(cls, body: bytes) -> "EmbeddingRequest":
        """Parse a request body; its content type does not matter, and it may begin with a byte order mark.

        Raises:
            RequestError: it is not JSON or not a valid request; the message names the field and what is expected.
        """
        return parse_json(cls, body, from_validation)


class DeploymentRequest(EmbeddingRequest):
    """Body of a request whose path names the model, as Azure OpenAI's clients send it: `model` does not matter."""

    model: str = ""
