"""Flat lists of numbers in requests and answers; long ones in parts, so that the loop serves other requests, too."""

import asyncio
from math import prod
from typing import Final

import numpy as np

from fastgru.graph import Array
from fastgru.serve.fields import Field
from fastgru.serve.text import AS_BYTES, read_json, write_json
from fastgru.serve.v2.frames import packed
from fastgru.serve.v2.request import bad

__all__ = ["LONG_BYTES", "LONG_VALUES", "around", "read_list", "write_list"]

LONG_BYTES: Final = 1 << 17  # of text; reading it takes about a millisecond
LONG_VALUES: Final = 1 << 14


def around(body: bytes, most: int) -> tuple[bytes, bytes] | None:
    """Return the text around the only list named `data`, with an empty list in its place, and the list.

    Returns None if there are several such lists, if it is not flat, or if more than `most` bytes are around it. A quote
    within a JSON text has a backslash before it, so the search finds the end of a name: that of `data`, or of an
    unknown member, which is refused later.
    """
    at = body.find(b'"data"')
    begin = body.find(b"[", at)
    end = body.find(b"]", begin) + 1
    if not (0 <= at < begin < end) or len(body) - (end - begin) > most or body[at + 6 : begin].strip() != b":":
        return None
    flat = body[begin:end]
    if b'"' in flat or flat.find(b"[", 1) > 0 or body.find(b'"data"', end) >= 0:
        return None
    return body[:begin] + b"[]" + body[end:], flat


async def read_list(flat: bytes, shape: tuple[int, ...], field: Field) -> Array:
    """Return the array of a long list in JSON. Raises `ServeError`, 400, as for a short one."""
    wanted, count, position = prod(shape), 0, 1
    if wanted > len(flat):
        raise bad(
            f"input {field.name!r}: data has too few values, expected {wanted} for the shape {list(shape)}", "shape"
        )
    array = np.empty(wanted, field.dtype)
    while position < len(flat):
        end = flat.find(b",", position + LONG_BYTES)
        end = len(flat) - 1 if end < 0 else end
        values = read_json(b"[" + flat[position:end] + b"]", what=f"input {field.name!r}: data", way=AS_BYTES)
        if not values or count + len(values) > wanted:
            raise bad(
                f"input {field.name!r}: data is not a flat list, expected {wanted} values for the shape {list(shape)}",
                "shape",
            )
        array[count : count + len(values)] = np.frombuffer(packed(values, field), field.dtype)
        count, position = count + len(values), end + 1
        await asyncio.sleep(0)
    if count < wanted:
        raise bad(
            f"input {field.name!r}: data has {count} values, expected {wanted} for the shape {list(shape)}", "shape"
        )
    return array.reshape(shape)


async def write_list(flat: Array) -> bytes:
    """Return an array of one axis as a JSON list."""
    if flat.size <= LONG_VALUES:
        return write_json(flat)
    parts = []
    for begin in range(0, flat.size, LONG_VALUES):
        parts.append(write_json(flat[begin : begin + LONG_VALUES])[1:-1])
        await asyncio.sleep(0)
    return b"[" + b",".join(parts) + b"]"
