"""Arrays that come from users: weights by key, and inputs of a call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgru.arrays import frozen, owned
from fastgru.errors import InvalidModelError, ShapeError, SpecError
from fastgru.graph import Array
from fastgru.graphbuilder import Value
from fastgru.nearest import nearest
from fastgru.reference.operator import as_array

__all__ = [
    "as_lengths",
    "as_weight",
    "at_key",
    "axis_of",
    "check_last",
    "check_state_dict",
    "dotted",
    "float_input",
    "int_input",
    "integer",
    "number",
]


def as_weight(name: str, value: Any) -> Array:
    """Return `value` as a read-only floating-point array that the caller cannot change later.

    The two half precisions become float32, which holds them exactly.

    Raises `ShapeError` for another dtype, `InvalidModelError` for weights that are NaN or infinite.
    """
    array = as_array(name, value)
    native = array.dtype.newbyteorder("=")
    if native.name in ("float16", "bfloat16"):
        native = np.dtype(np.float32)
    if native not in (np.float32, np.float64):
        raise ShapeError(f"{name}: got dtype {array.dtype}, expected float64, float32, float16 or bfloat16")
    array = owned(array) if array.dtype == native else frozen(array.astype(native))
    if bad := array.size - int(np.count_nonzero(np.isfinite(array))):
        raise InvalidModelError(f"{name}: {bad} of {array.size} values are NaN or infinite: the file may be damaged")
    return array


def check_state_dict(weights: Any, prefix: Any, *, what: str) -> None:
    """Raise `SpecError` unless `weights` is a mapping and `prefix` a text."""
    if not isinstance(weights, Mapping):
        raise SpecError(
            f"{what}: weights: got {type(weights).__name__}, expected a mapping from names to"
            f" arrays{_of_weights(weights)}"
        )
    if not isinstance(prefix, str):
        raise SpecError(f"{what}: prefix is {prefix!r}, expected a text; '' for none")


def _of_weights(weights: Any) -> str:
    """Say how to get weights by name from another object, for the end of a message."""
    if isinstance(weights, str | bytes | PathLike):
        return ": fastgru.read_weights(path) reads a file into one"
    if callable(getattr(weights, "state_dict", None)):
        return ": give its state_dict()"
    return ""


def dotted(prefix: str) -> str:
    """Return `prefix` with a dot at its end, unless it is empty: "gru" and "gru." name the same module."""
    return prefix if not prefix or prefix.endswith(".") else prefix + "."


def at_key(
    weights: Mapping[str, ArrayLike],
    prefix: str,
    keys: Collection[str],
    *,
    optional: Collection[str] = (),
    what: str,
) -> dict[str, Array]:
    """Return the arrays at prefix + key of a state dict, and those of the optional keys that exist.

    Raises `SpecError` with every missing key.
    """
    check_state_dict(weights, prefix, what=what)
    start = dotted(prefix)
    if missing := [start + key for key in keys if start + key not in weights]:
        end = "." + missing[0][len(start) :]
        having = [key.removesuffix(end) for key in weights if isinstance(key, str) and key.endswith(end)]
        close = nearest(prefix, having)
        asked = f"; did you mean the prefix {close[0]!r}?" if close else ""
        raise SpecError(f"{what}: missing {', '.join(missing)}; prefix is {prefix!r}{asked}")
    found = [*keys, *(key for key in optional if start + key in weights)]
    return {key: as_weight(start + key, weights[start + key]) for key in found}


def axis_of(what: str, x: Value, dim: int) -> int:
    """Return the axis `dim` of x, counted from 0. Raises `ShapeError` if x does not have it."""
    if not -len(x.shape) <= dim < len(x.shape):
        raise ShapeError(f"{what}: input has shape {x.shape}, which has no axis {dim}")
    return dim % len(x.shape)


def check_last(what: str, x: Value, size: int) -> None:
    """Raise `ShapeError` unless the last axis of x has this size, or an unknown one."""
    if not x.shape or x.shape[-1] not in (None, size):
        raise ShapeError(f"{what}: input has shape {x.shape}, expected {size} on the last axis")


def float_input(what: str, x: ArrayLike, dtype: str) -> Array:
    """Return x as a contiguous array of `dtype`. Floats of other precisions are converted, integers are refused."""
    array = as_array(what, x)
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        way = f": give it as np.asarray({what.rpartition(' ')[2]}, np.{dtype})" if array.dtype.kind in "biu" else ""
        raise ShapeError(f"{what}: got dtype {array.dtype}, expected a float{way}")
    return np.ascontiguousarray(array, dtype=dtype).reshape(array.shape)


def int_input(what: str, x: ArrayLike) -> Array:
    """Return x as a contiguous int64 array. Anything but integers is refused, except an empty list."""
    array = as_array(what, x)
    if array.size == 0 and not isinstance(x, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        if array.dtype.kind not in "bf":
            raise ShapeError(f"{what}: got dtype {array.dtype}, expected integers")
        broken = array[array != np.trunc(array)] if array.dtype.kind == "f" else array[:0]
        if broken.size:
            shown = ", ".join(f"{value:g}" for value in broken[:3])
            raise ShapeError(f"{what}: got {shown}, expected whole numbers")
        name = what.rpartition(" ")[2]
        raise ShapeError(f"{what}: got dtype {array.dtype}, expected integers: give it as np.asarray({name}, np.int64)")
    return np.ascontiguousarray(array, dtype=np.int64).reshape(array.shape)


def as_lengths(lengths: ArrayLike, N: int, T: int) -> Array:
    """Return lengths as int64 (N,), each from 0 to T, in any order. Raises `ShapeError` for others."""
    array = np.atleast_1d(int_input("lengths", lengths))
    if array.shape != (N,) or (N and (array.min() < 0 or array.max() > T)):
        raise ShapeError(f"lengths: got {np.asarray(lengths).tolist()}, expected {N} integers from 0 to {T}")
    return array


def integer(name: str, value: Any, *, least: int | None = None) -> int:
    """Return `value` as an int. Raises `SpecError` if it is not an integer or is below `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or (least is not None and value < least):
        raise SpecError(f"{name} is {value!r}, expected an integer{'' if least is None else f' of at least {least}'}")
    return int(value)


def number(name: str, value: Any) -> float:
    """Return `value` as a float. Raises `SpecError` if it is not a finite number."""
    array = np.zeros((), bool) if value is None else as_array(name, value)
    if array.ndim or array.dtype.kind not in "iuf" or not np.isfinite(array):
        raise SpecError(f"{name} is {value!r}, expected a finite number")
    return float(array)
