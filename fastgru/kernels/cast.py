"""Conversions of element types. Conversions between narrow integers go through int64: see `engine.ops.cast`."""

from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.cast import CAST, DIRECT, SATURATING
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, tensor
from fastgru.kernels.team import spend
from fastgru.simd.memory import pointer

AT = CAST.at
_BLOCK: Final = 4096  # elements between two looks at the work that is left


def _make_cast(target: str) -> Any:
    convert = np.dtype(target).type

    def cast(dtype: str) -> Any:
        """y = x converted."""

        def handle(operands, bases, team):
            x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), target)
            count, left = operands[AT.count], np.int64(LOOK_WORK)
            for begin in range(0, count, _BLOCK):
                left = spend(left, 32 * _BLOCK, team, bases)
                if left < 0:
                    return
                for i in range(begin, min(count, begin + _BLOCK)):
                    y[i] = convert(x[i])

        def handle_bool(operands, bases, team):
            x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), target)
            count, left = operands[AT.count], np.int64(LOOK_WORK)
            for begin in range(0, count, _BLOCK):
                left = spend(left, 32 * _BLOCK, team, bases)
                if left < 0:
                    return
                for i in range(begin, min(count, begin + _BLOCK)):
                    y[i] = 1 if x[i] != 0 else 0

        return handle_bool if target == "bool" else handle

    return cast


for _target, _sources in DIRECT.items():
    handler(f"cast_to_{_target}", *_sources)(_make_cast(_target))


@handler("truth", "bool")
def _truth(dtype: str) -> Any:
    """y = 1 where a byte of x is not 0, else 0: a caller's bool array may hold any bytes."""
    return _make_cast("bool")(dtype)


def _make_saturate(target: str) -> Any:
    limits = np.iinfo(target)

    def saturate(dtype: str) -> Any:
        """y = x, which holds whole numbers, limited to the range of y; NaN becomes the lower limit."""
        kind = np.dtype(dtype).type
        low, high = kind(limits.min), kind(limits.max)
        if int(high) > limits.max:
            high = np.nextafter(high, kind(0))

        def handle(operands, bases, team):
            x, y = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.y), target)
            count, left = operands[AT.count], np.int64(LOOK_WORK)
            for begin in range(0, count, _BLOCK):
                left = spend(left, 32 * _BLOCK, team, bases)
                if left < 0:
                    return
                for i in range(begin, min(count, begin + _BLOCK)):
                    v = x[i]
                    v = v if v > low else low  # NaN becomes low
                    y[i] = np.int32(v if v < high else high)

        return handle

    return saturate


for _target in SATURATING:
    handler(f"saturate_to_{_target}", "float32", "float64")(_make_saturate(_target))
