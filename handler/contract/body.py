"""A request's body before it is parsed, and after that has failed."""

import codecs
import re
from collections.abc import Callable
from itertools import islice
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from handler.errors import RequestError

Schema = TypeVar("Schema", bound=BaseModel)
# Lists and objects in a body; 2048 token arrays make 2050. Two bytes of JSON are one of them, and up to 280 bytes of
# memory: a body of 4 MB that was nothing but brackets took 640 MB.
MAX_CONTAINERS = 1 << 14
# A string, or the bracket that opens a list or an object. The string may lack its end: the search would otherwise start
# again at every quote in it.
STRING_OR_BRACKET = rb'(?s)"(?:[^"\\]++|\\.)*+(?:"|\Z)|([\[{])'
# Byte order marks, or an object's opening brace. UTF-32 comes first: its mark begins with that of UTF-16.
FOREIGN_ENCODINGS = {
    "UTF-32; send it as UTF-8": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, b"{\0\0\0", b"\0\0\0{"),
    "UTF-16; send it as UTF-8": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"{\0", b"\0{"),
    "gzip; compress it once, and send the header 'Content-Encoding: gzip'": (b"\x1f\x8b",),
}


def check_containers(body: bytes) -> None:
    """Count lists and objects before they are parsed; brackets in strings do not count.

    Raises:
        RequestError: there are too many.
    """
    if body.count(b"[") + body.count(b"{") <= MAX_CONTAINERS:
        return
    brackets = (found for found in re.finditer(STRING_OR_BRACKET, body) if found[1])
    if any(islice(brackets, MAX_CONTAINERS, None)):
        raise RequestError(
            f"The request's body has more than {MAX_CONTAINERS:,} lists and objects; send several requests.",
            code="request_too_large",
        )


def parse_json(schema: type[Schema], body: bytes, translate: Callable[[ValidationError], RequestError]) -> Schema:
    """Parse a request's JSON, which may begin with a byte order mark; `translate` words what the schema refuses.

    Raises:
        RequestError: it is not JSON or not a valid request; the message names the field and what is expected.
    """
    check_containers(body)
    try:
        return schema.model_validate_json(body.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        raise foreign_encoding(body) or translate(error) from None


def foreign_encoding(body: bytes) -> RequestError | None:
    """Return an error that names the encoding of a body, if its first bytes show that it is not UTF-8."""
    for encoding, beginnings in FOREIGN_ENCODINGS.items():
        if body.startswith(beginnings):
            return RequestError(
                f"We could not parse the JSON body of your request: it is {encoding}.", code="invalid_json"
            )
    return None
