"""The inputs of a request as arrays: views of the body for inputs sent as bytes, and strict reading of JSON lists."""

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from fastgru.graph import Array
from fastgru.serve.fields import Field, dtype_of
from fastgru.serve.models import Served
from fastgru.serve.text import write_json
from fastgru.serve.v2.request import InferRequest, bad

__all__ = ["Region", "bind", "bind_raw", "packed", "take"]

_KINDS: Final[Mapping[str, frozenset[type]]] = {
    "f": frozenset((int, float)),
    "i": frozenset((int,)),
    "u": frozenset((int,)),
    "b": frozenset((bool,)),
}
# Formats of `struct`, which is quick with lists, and refuses values outside the range of a format.
_FORMATS: Final[Mapping[str, str]] = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP32": "f", "FP64": "d",
}  # fmt: skip


class Region(NamedTuple):
    """An input: its offset in the bytes after the JSON object, or its list from the object."""

    field: Field
    shape: tuple[int, ...]
    offset: int
    data: list[Any] | None = None


def bind(served: Served, request: InferRequest, following: int) -> tuple[Region, ...]:
    """Return the inputs of a request in the order of the model. following: how many bytes follow the JSON object.

    Raises `ServeError`, 400, if the inputs do not match the model.
    """
    regions: dict[str, Region] = {}
    offset = 0
    for tensor in request.inputs:
        field = next((field for field in served.inputs if field.name == tensor.name), None)
        if field is None:
            raise bad(f"there is no input {tensor.name!r:.80}: {_expected(served)}", "inputs")
        if tensor.name in regions:
            raise bad(f"input {tensor.name!r} came twice", "inputs")
        if tensor.datatype != field.datatype:
            dtype_of(tensor.datatype)
            raise bad(f"input {field.name!r}: got {tensor.datatype}, expected {field.datatype}", "datatype")
        if tensor.size is None:
            regions[field.name] = Region(field, tensor.shape, 0, tensor.data)
            continue
        if tensor.size != (size := prod(tensor.shape) * field.dtype.itemsize):
            raise bad(
                f"input {field.name!r}: got {tensor.size} bytes, expected {size} for {field.datatype}"
                f" {list(tensor.shape)}",
                "shape",
            )
        regions[field.name] = Region(field, tensor.shape, offset)
        offset += size
    if len(regions) != len(served.inputs):
        raise bad(f"got inputs {', '.join(regions) or 'none'}: {_expected(served)}", "inputs")
    if offset != following:
        raise bad(f"{following} bytes follow the JSON object, expected {offset} for its inputs", "shape")
    return _checked(served, tuple([regions[field.name] for field in served.inputs]))


def bind_raw(served: Served, size: int) -> tuple[Region, ...]:
    """Return the single input that makes up a body of `size` bytes. Raises `ServeError`, 400."""
    if len(served.inputs) != 1:
        raise bad(f"a body without a JSON object must be a single input: {_expected(served)}", "inputs")
    (field,) = served.inputs
    if field.shape is None:
        raise bad(f"input {field.name!r} may have any number of axes: send its shape in a JSON object", "shape")
    declared = field.shape
    if declared.count(-1) > 1 and served.batch_axes is not None:
        declared = (*declared[: (axis := served.batch_axes[0])], 1, *declared[axis + 1 :])
    shape = tuple([1 if n < 0 else n for n in declared])
    row = prod(shape) * field.dtype.itemsize
    if declared.count(-1) == 1 and row and size and size % row == 0:
        shape = tuple([size // row if n < 0 else n for n in declared])
    if size != prod(shape) * field.dtype.itemsize:
        raise bad(
            f"input {field.name!r}: the shape does not follow from a body of {size} bytes; expected {field.datatype}"
            f" {list(field.shape)}, with a batch of 1 if it is free, and at most one other free size",
            "shape",
        )
    return _checked(served, (Region(field, shape, 0),))


def _checked(served: Served, regions: tuple[Region, ...]) -> tuple[Region, ...]:
    """Return the regions after checking them. Raises `ServeError` if the model does not take such arrays.

    The arrays for the check need no memory, whatever their shapes.
    """
    served.check(tuple([np.ndarray(r.shape, r.field.dtype, bytes(8), 0, (0,) * len(r.shape)) for r in regions]))
    return regions


def take(
    regions: Sequence[Region], body: bytes, start: int, data: list[Any] | Array | None = None
) -> tuple[Array, ...]:
    """Return the arrays, as views of the body if they are aligned. data: takes the place of the list in the object.

    Raises `ServeError`, 400, for a list that does not fit the shape or the datatype, and for bytes of BOOL other than
    0 and 1.
    """
    arrays: list[Array] = []
    for field, shape, offset, stood in regions:
        dtype = field.dtype
        if stood is not None:
            given = stood if data is None else data
            arrays.append(given if isinstance(given, np.ndarray) else _array(given, shape, field))
            continue
        at = start + offset
        array = np.empty(shape, dtype) if 0 in shape else np.ndarray(shape, dtype, body, at)
        if at % dtype.itemsize:
            array = array.copy()
        if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
            raise bad(f"input {field.name!r} of BOOL has a byte that is neither 0 nor 1", "data")
        arrays.append(array)
    return tuple(arrays)


def _array(data: list[Any], shape: tuple[int, ...], field: Field) -> Array:
    """Return the array of a list that is flat, or nested like the shape. Raises `ServeError`, 400, for others."""
    if data and type(data[0]) is list:
        for axis, size in enumerate(shape[1:]):
            if len(data) != prod(shape[: axis + 1]) or not all(type(p) is list and len(p) == size for p in data):
                raise bad(f"input {field.name!r}: data is not nested like its shape {list(shape)}", "shape")
            data = list(chain.from_iterable(data))
    if len(data) != prod(shape):
        raise bad(
            f"input {field.name!r}: data has {len(data)} values, expected {prod(shape)} for the shape {list(shape)}",
            "shape",
        )
    return np.ndarray(shape, field.dtype, packed(data, field) or bytes(field.dtype.itemsize))


def packed(values: list[Any], field: Field) -> bytes:
    """Return the values as bytes of the datatype. Raises `ServeError`, 400, for a value of another datatype."""
    kinds = _KINDS[field.dtype.kind]
    if not kinds.issuperset(map(type, values)):
        wrong = next(value for value in values if type(value) not in kinds)
        shown = write_json(wrong).decode()
        raise bad(f"input {field.name!r}: data has {shown:.80}, expected values of {field.datatype}", "data")
    try:
        return struct.pack(f"<{len(values)}{_FORMATS[field.datatype]}", *values)
    except (struct.error, OverflowError):
        raise bad(f"input {field.name!r}: data has a value outside the range of {field.datatype}", "data") from None


def _expected(served: Served) -> str:
    inputs = ", ".join(
        f"{field.name} {field.datatype} {'of any shape' if field.shape is None else list(field.shape)}"
        for field in served.inputs
    )
    return f"model {served.name!r} takes {inputs or 'no inputs'}"
