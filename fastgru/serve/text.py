"""JSON from and to clients. What is read is limited in size, in depth and in the number of containers."""

import re
from typing import Any, Final

import numpy as np
import orjson

from fastgru.serve.errors import ServeError

__all__ = ["AS_BYTES", "MAX_CONTAINERS", "MAX_TEXT", "read_json", "write_json"]

MAX_TEXT: Final = 1 << 20  # bytes; reading this many takes 10 ms, for which other requests wait

MAX_CONTAINERS: Final = 1 << 18  # lists and objects of one text, each of which takes at least 64 bytes
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NON_FINITE: Final = re.compile("nan|inf(inity)?", re.IGNORECASE)
AS_BYTES: Final = "; send the values as bytes, with binary_data_size"
_STEPS: Final = np.zeros(256, np.int8)
_STEPS[[*b"[{"]], _STEPS[[*b"]}"]] = 1, -1


def read_json(text: bytes | memoryview, *, what: str = "the body", most_depth: int = 32, way: str = "") -> Any:
    """Return the value of a JSON text. way: what the error for NaN and Infinity ends with, such as `AS_BYTES`.

    Raises `ServeError`: 400 for text that is not JSON, is nested too deeply, or has too many lists and objects, 413 for
    text that is too long. NaN, Infinity and numbers beyond float64 are not JSON. If an object names a key twice, the
    last one counts.
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
        found = _NON_FINITE.match(error.doc, error.pos)
        told = f"has {found[0]}, and JSON has no such number{way}" if found else f"is not JSON: {error}"
        raise ServeError(400, f"{what} {told}", reason="json") from None


def write_json(value: Any) -> bytes:
    """Return the value as JSON. Arrays become lists, and numbers that are not finite become null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
