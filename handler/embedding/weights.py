"""Takes the large tensors out of a serialized ONNX model, so that ONNX Runtime copies them once and not three times.

From bytes, ONNX Runtime makes a string, parses that into messages, and copies the tensors out of these. A tensor that
is passed beside the model is copied only to its place. The format is that of protobuf
(protobuf.dev/programming-guides/encoding), and the numbers of the fields are those of onnx.proto.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handler.artifacts.manifest import Content

MODEL_GRAPH, GRAPH_INITIALIZER = 7, 5
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW_DATA, TENSOR_EXTERNAL_DATA, TENSOR_LOCATION = 1, 2, 8, 9, 13, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2
EXTERNAL = 1  # a tensor's location
TYPES: dict[int, type[np.generic]] = {1: np.float32, 2: np.uint8, 3: np.int8, 10: np.float16}
# Smaller tensors, such as shapes, take no memory to speak of, and ONNX Runtime reads their values while it loads.
MIN_BYTES = 1 << 16


class Field(NamedTuple):
    """A field of a message: its number, its bytes with their key, its content, and its value if that is a varint."""

    number: int
    whole: memoryview
    content: memoryview
    value: int


def split(model: Content) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Return the model without the content of its large tensors, and these by name: arrays that share its memory.

    What is left says of each that it is external; tensors of other types than TYPES stay in it.

    Raises:
        ValueError, IndexError, KeyError: it is no protobuf message, or a tensor has another size than its shape says.
    """
    weights: dict[str, NDArray[Any]] = {}
    parts: list[bytes | memoryview] = []
    for field in _fields(memoryview(model)):
        if field.number == MODEL_GRAPH:
            parts += _message(MODEL_GRAPH, [_initializer(each, weights) for each in _fields(field.content)])
        else:
            parts.append(field.whole)
    return b"".join(parts), weights


def _initializer(field: Field, weights: dict[str, NDArray[Any]]) -> bytes | memoryview:
    """Return a field of a graph, without the content of a large tensor, which is added to the weights."""
    if field.number != GRAPH_INITIALIZER or len(field.content) < MIN_BYTES:
        return field.whole
    tensor = list(_fields(field.content))
    fields = {each.number: each for each in tensor}
    kind = TYPES.get(fields[TENSOR_TYPE].value)
    if kind is None or TENSOR_RAW_DATA not in fields:
        return field.whole
    shape = [size for each in tensor if each.number == TENSOR_DIMS for size in _sizes(each)]
    values = np.frombuffer(fields[TENSOR_RAW_DATA].content, kind)
    weights[str(fields[TENSOR_NAME].content, "utf-8")] = values.reshape(shape)
    location = [*_message(ENTRY_KEY, [b"location"]), *_message(ENTRY_VALUE, [b"weights"])]
    rest = [each.whole for each in tensor if each.number != TENSOR_RAW_DATA]
    external = [*_message(TENSOR_EXTERNAL_DATA, location), bytes([TENSOR_LOCATION << 3, EXTERNAL])]
    return b"".join(_message(GRAPH_INITIALIZER, [*rest, *external]))


def _sizes(field: Field) -> list[int]:
    """Return the dimensions in a field, which has one of them, or all if they are packed."""
    sizes, position = [], 0
    while position < len(field.content):
        size, position = _varint(field.content, position)
        sizes.append(size)
    return sizes or [field.value]


def _fields(message: memoryview) -> Iterator[Field]:
    position = 0
    while position < len(message):
        start, value = position, 0
        key, position = _varint(message, position)
        first = position
        match key & 7:
            case 0:  # a varint
                value, position = _varint(message, position)
                first = position
            case 1:  # 64 bits
                position += 8
            case 2:  # bytes
                length, first = _varint(message, position)
                position = first + length
            case 5:  # 32 bits
                position += 4
            case kind:
                raise ValueError(f"it is no ONNX model: a field has the wire type {kind}")
        if position > len(message):
            raise ValueError("it is no ONNX model: a field is longer than its message")
        yield Field(key >> 3, message[start:position], message[first:position], value)


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number at a position, and the position after it."""
    value = shift = 0
    while message[position] & 0x80:
        value |= (message[position] & 0x7F) << shift
        position, shift = position + 1, shift + 7
    return value | message[position] << shift, position + 1


def _message(number: int, parts: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the parts of a field that contains a message or a string."""
    length, head = sum(map(len, parts)), [number << 3 | 2]
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return [bytes([*head, length]), *parts]
