"""The inputs of a request as arrays: views of the body where the bytes are there, and lists of JSON read strictly."""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Final, NamedTuple

import numpy as np

from fastgru.graph import Array
from fastgru.serve.fields import Field, dtype_of
from fastgru.serve.models import Served
from fastgru.serve.v2.request import InferRequest, Tensor, bad

__all__ = ["Region", "bind", "bind_raw", "take"]

_KINDS: Final[Mapping[str, frozenset[type]]] = {
    "f": frozenset((int, float)),
    "i": frozenset((int,)),
    "u": frozenset((int,)),
    "b": frozenset((bool,)),
}


class Region(NamedTuple):
    """Where an input lies behind the JSON object, or the array that stood in it."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    array: Array | None = None


def bind(served: Served, request: InferRequest, following: int) -> tuple[Region, ...]:
    """The inputs of the model, in its order, of a request that has `following` bytes behind its JSON object.

    Raises `ServeError`, 400: what came, and what the model takes.
    """
    regions: dict[str, Region] = {}
    offset = 0
    for tensor in request.inputs:
        field = next((field for field in served.inputs if field.name == tensor.name), None)
        if field is None:
            raise bad(f"there is no input {tensor.name!r:.80}: {_expected(served)}", "inputs")
        if tensor.name in regions:
            raise bad(f"input {tensor.name!r} is there twice", "inputs")
        if tensor.datatype != field.datatype:
            dtype_of(tensor.datatype)
            raise bad(f"input {field.name!r}: got {tensor.datatype}, expected {field.datatype}", "datatype")
        if tensor.size is None:
            regions[field.name] = Region(tensor.shape, field.dtype, 0, _array(tensor, field))
            continue
        if tensor.size != (size := prod(tensor.shape) * field.dtype.itemsize):
            raise bad(
                f"input {field.name!r}: binary_data_size is {tensor.size}, expected {size} for {field.datatype}"
                f" {list(tensor.shape)}",
                "shape",
            )
        regions[field.name] = Region(tensor.shape, field.dtype, offset)
        offset += size
    if len(regions) != len(served.inputs):
        raise bad(f"inputs {', '.join(regions) or 'none'} came: {_expected(served)}", "inputs")
    if offset != following:
        raise bad(f"{following} bytes follow the JSON object, expected {offset} as its inputs say", "shape")
    return _checked(served, tuple([regions[field.name] for field in served.inputs]))


def bind_raw(served: Served, size: int) -> tuple[Region, ...]:
    """The one input that a body of `size` bytes is. Raises `ServeError`, 400."""
    if len(served.inputs) != 1:
        raise bad(f"a body of bytes alone is one input: {_expected(served)}", "inputs")
    (field,) = served.inputs
    if field.shape is None:
        raise bad(f"input {field.name!r} may have any number of axes: send its shape in a JSON object", "shape")
    ones = tuple([1 if n < 0 else n for n in field.shape])
    row = prod(ones) * field.dtype.itemsize
    shape = ones
    if field.shape.count(-1) == 1 and row and size % row == 0:
        shape = tuple([size // row if n < 0 else n for n in field.shape])
    if size != prod(shape) * field.dtype.itemsize:
        raise bad(
            f"input {field.name!r}: a body of {size} bytes does not tell the shape; {field.datatype}"
            f" {list(field.shape)} was expected, with at most one free size unless all of them are 1",
            "shape",
        )
    return _checked(served, (Region(shape, field.dtype, 0),))


def _checked(served: Served, regions: tuple[Region, ...]) -> tuple[Region, ...]:
    """The same. Raises `ServeError` where the model does not take arrays like these, which are made without memory."""
    served.check(
        tuple([np.ndarray(r.shape, r.dtype, bytes(r.dtype.itemsize), 0, (0,) * len(r.shape)) for r in regions])
    )
    return regions


def take(regions: Sequence[Region], body: bytes, start: int) -> tuple[Array, ...]:
    """The arrays, views of the body where they are aligned. Raises `ServeError`, 400, for bytes that are no bool."""
    arrays = []
    for shape, dtype, offset, array in regions:
        if array is None:
            at = start + offset
            array = np.ndarray(shape, dtype, body, at) if prod(shape) else np.empty(shape, dtype)
            if at % dtype.itemsize:
                array = array.copy()
            if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
                raise bad("an input of BOOL has a byte that is neither 0 nor 1", "data")
        arrays.append(array)
    return tuple(arrays)


def _array(tensor: Tensor, field: Field) -> Array:
    """The list of JSON, flat or nested as the shape is, with no value that is not one of its datatype."""
    data, shape = tensor.data or [], tensor.shape
    if data and type(data[0]) is list:
        for axis, size in enumerate(shape[1:]):
            if len(data) != prod(shape[: axis + 1]) or not all(type(p) is list and len(p) == size for p in data):
                raise bad(f"input {field.name!r}: data is not nested as its shape {list(shape)} is", "shape")
            data = list(chain.from_iterable(data))
    if len(data) != prod(shape):
        raise bad(f"input {field.name!r}: data has {len(data)} values, its shape {list(shape)} {prod(shape)}", "shape")
    if not _KINDS[field.dtype.kind].issuperset(map(type, data)):
        wrong = next(value for value in data if type(value) not in _KINDS[field.dtype.kind])
        raise bad(f"input {field.name!r}: {wrong!r:.80} in data is no {field.datatype}", "data")
    try:
        with np.errstate(over="raise"):
            return np.array(data, field.dtype).reshape(shape)
    except (OverflowError, FloatingPointError):
        raise bad(f"input {field.name!r}: a value of data is beyond {field.datatype}", "data") from None


def _expected(served: Served) -> str:
    inputs = ", ".join(
        f"{field.name} {field.datatype} {'of any shape' if field.shape is None else list(field.shape)}"
        for field in served.inputs
    )
    return f"model {served.name!r} takes {inputs or 'no inputs'}"
