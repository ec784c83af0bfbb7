"""Datatypes and dataspaces of datasets and attributes (sections IV.A.2.b and IV.A.2.d)."""

import math
from typing import Any, Final

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.importers.hdf5.block import Block
from fastgru.modules import late
from fastgru.records import dataclass

__all__ = ["Datatype", "read_dataspace", "read_datatype"]

MAX_RANK: Final = 32

_FIXED, _FLOAT, _STRING, _OPAQUE, _VARIABLE = 0, 1, 3, 5, 9
_CLASSES: Final = {2: "time", 4: "bit field", 6: "compound", 7: "reference", 8: "enumeration", 10: "array"}
# Layouts of IEEE 754: bytes -> (exponent location, exponent size, mantissa location, mantissa size, exponent bias).
_IEEE: Final = {2: (10, 5, 0, 10, 15), 4: (23, 8, 0, 23, 127), 8: (52, 11, 0, 52, 1023)}


@dataclass(frozen=True)
class Datatype:
    """numbers: the NumPy dtype, None for texts. variable: whether the text is in a global heap."""

    size: int
    numbers: np.dtype[Any] | None
    variable: bool = False


def read_dataspace(block: Block) -> tuple[int, ...]:
    """Return the shape: () for a scalar, (0,) for a null dataspace."""
    version, rank, _ = block.number(1), block.number(1), block.number(1)
    if version == 1:
        block.take(5)
    elif version == 2:
        if block.number(1) == 2:
            return (0,)
    else:
        raise block.form.damaged(f"{block.what}: a dataspace of version {version}")
    if rank > MAX_RANK:
        raise block.form.damaged(f"{block.what}: {rank} axes, HDF5 has at most {MAX_RANK}")
    shape = tuple(block.length() for _ in range(rank))
    if math.prod(max(s, 1) for s in shape) >= 1 << 48:
        raise block.form.damaged(f"{block.what}: declares shape {shape}")
    return shape


def read_datatype(block: Block) -> Datatype:
    """Return the datatype of numbers or texts; raise `UnsupportedModelError` for the other classes of HDF5."""
    form, first, bits, size = block.form, block.number(1), block.number(3), block.number(4)
    kind, version = first & 0x0F, first >> 4
    if version == 0 or size == 0:
        raise form.damaged(f"{block.what}: a datatype of version {version} and {size} bytes")
    if version > 3:
        raise _other(block, f"values of a datatype of version {version}")
    if kind == _FIXED:
        order, signed = ">" if bits & 1 else "<", "i" if bits & 8 else "u"
        if size not in (1, 2, 4, 8) or (block.number(2), block.number(2)) != (0, 8 * size):
            raise _other(block, f"integers of {size} bytes with unused bits")
        return Datatype(size, np.dtype(f"{order}{signed}{size}"))
    if kind == _FLOAT:
        order, layout = ">" if bits & 1 else "<", _IEEE.get(size)
        where = block.number(2), block.number(2)
        found = (*(block.number(1) for _ in range(4)), block.number(4))
        if found != layout or where != (0, 8 * size) or bits & 0x40:
            raise _other(block, f"floating-point numbers of {size} bytes that are not IEEE 754")
        return Datatype(size, np.dtype(f"{order}f{size}"))
    if kind == _STRING:
        return Datatype(size, None)
    if kind == _OPAQUE and size == 2:
        # NumPy has no bfloat16, so h5py writes it as two opaque bytes; Keras writes no other data this way.
        return Datatype(2, np.dtype(late("ml_dtypes").bfloat16))
    if kind == _VARIABLE and bits & 0x0F == 1:
        return Datatype(size, None, variable=True)
    raise _other(block, f"values of class {_CLASSES.get(kind, f'number {kind}')!r}")


def _other(block: Block, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{block.form.name}: {block.what} holds {what}: integers, IEEE floats and texts are read"
    )
