"""JSON from strangers, and to them: bounded in depth and in what it makes, and refused with 400 where it is none."""

import re
from typing import Any, Final

import numpy as np
import orjson

from fastgru.serve.errors import ServeError

__all__ = ["MAX_CONTAINERS", "MAX_TEXT", "read_json", "write_json"]

MAX_TEXT: Final = 1 << 20  # bytes: other requests wait while one is read, which takes 10 ms

MAX_CONTAINERS: Final = 1 << 18  # lists and objects of one text: each of them takes 64 bytes and more
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_STEPS: Final = np.zeros(256, np.int8)
_STEPS[[*b"[{"]], _STEPS[[*b"]}"]] = 1, -1


def read_json(text: bytes | memoryview, *, what: str = "the body", most_depth: int = 32) -> Any:
    """The value of the text. Raises `ServeError`: 400 for what is no JSON, too deep, or of too many lists and objects,
    413 for what is too long.

    NaN and Infinity are not JSON, nor are numbers beyond float64. An object that names a key twice has the last one.
    """
    if len(text) > MAX_TEXT:
        raise ServeError(
            413,
            f"{what}: got {len(text)} bytes of JSON, expected at most {MAX_TEXT}: send tensors as bytes, or the data of"
            " one input as a flat list",
            reason="json",
        )
    text = bytes(text)
    opened = text.count(b"[") + text.count(b"{")
    if opened > most_depth:
        if opened > MAX_CONTAINERS:
            raise ServeError(
                400, f"{what}: got {opened} lists and objects, expected at most {MAX_CONTAINERS}", reason="json"
            )
        outside = np.frombuffer(_STRING.sub(b"", text), np.uint8)
        if (depth := int(_STEPS[outside].cumsum(dtype=np.int32).max(initial=0))) > most_depth:
            raise ServeError(
                400, f"{what}: the JSON is nested {depth} deep, expected at most {most_depth}", reason="json"
            )
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ServeError(400, f"{what} is not JSON: {error}", reason="json") from None


def write_json(value: Any) -> bytes:
    """As text; arrays as flat lists if they are flat, and numbers that are not finite as null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
