"""NumPy archives (.npz). The header of each .npy member is parsed here, because NumPy evaluates it as Python.

Format: numpy.lib.format, versions 1 to 3.
"""

import re
from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.archive import Archive
from fastgru.sources import Content

__all__ = ["read_npz_state"]

MAX_HEADER: Final = 4096
MAX_AXES: Final = 32

_DESCR: Final = re.compile(r"'descr': *'([<>|=]?[a-zA-Z]\d*)'")
_ORDER: Final = re.compile(r"'fortran_order': *(True|False)")
_SHAPE: Final = re.compile(r"'shape': *\(((?:\d{1,18}L?, *)*(?:\d{1,18}L?)?)\)")


def read_npz_state(content: Content) -> Mapping[str, Array]:
    """Return the arrays by name, without `.npy`, in the order of the archive.

    Raises `InvalidModelError` for a damaged file, `UnsupportedModelError` for arrays of objects (which are pickles),
    texts or records.
    """
    archive, name = Archive(content), content.name
    if strangers := [member for member in archive if not member.endswith(".npy")]:
        raise InvalidModelError(f"{name}: the member {strangers[0][:80]!r} is not an array (.npy)")
    return {m.removesuffix(".npy"): _array(archive[m], f"{name}: array {m[:80]!r}") for m in archive}


def _array(data: memoryview, what: str) -> Array:
    head = bytes(data[:12])
    width = {1: 2, 2: 4, 3: 4}.get(head[6] if len(head) > 6 else 0)
    if not head.startswith(b"\x93NUMPY") or width is None:
        raise InvalidModelError(
            f"{what}: the array starts with {head[:8]!r}, which is not the magic and the version of NumPy"
        )
    size = int.from_bytes(head[8 : 8 + width], "little")
    start = 8 + width + size
    if size > MAX_HEADER or start > len(data):
        raise InvalidModelError(
            f"{what}: the header has {size} bytes, but the member has {len(data)} bytes, and at most {MAX_HEADER} are"
            " read"
        )
    header = bytes(data[8 + width : start]).decode("latin-1")
    order, shape_text = _ORDER.search(header), _SHAPE.search(header)
    if order is None or shape_text is None or "'descr'" not in header:
        raise InvalidModelError(f"{what}: the header {header[:80]!r} does not have descr, fortran_order and shape")
    dtype = _dtype(header, what)
    shape = tuple(int(size.rstrip("L")) for size in re.findall(r"\d+L?", shape_text.group(1)))
    if len(shape) > MAX_AXES or prod(shape) * dtype.itemsize != len(data) - start:
        raise InvalidModelError(f"{what}: {dtype} {list(shape)[:40]} does not fit {len(data) - start} bytes")
    flat = np.frombuffer(data[start:], dtype)
    if dtype.kind == "b" and flat.size and flat.view(np.uint8).max() > 1:
        raise InvalidModelError(f"{what}: a bool is neither 0 nor 1")
    try:
        array = flat.reshape(shape, order="F" if order.group(1) == "True" else "C")
    except ValueError:  # an empty array with axes too long for NumPy
        raise InvalidModelError(f"{what}: {list(shape)} is not the shape of an array") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def _dtype(header: str, what: str) -> np.dtype[Any]:
    found = _DESCR.search(header)
    descr = found.group(1) if found else header[:80]
    kind = descr.lstrip("<>|=")[:1]
    if found is None or kind not in "fiub":
        hint = {
            "O": "an array of objects is a pickle, and pickles are code: save arrays of numbers",
            "V": "records without a name (a bfloat16 array loses its name here): save it as float32, or in safetensors",
        }.get(kind, "save arrays of real numbers")
        raise UnsupportedModelError(f"{what}: dtype {descr!r} is not read: {hint}")
    try:
        return np.dtype(descr)
    except TypeError:
        raise InvalidModelError(f"{what}: {descr!r} is not a dtype") from None
