"""Conversions of element types. Those between the narrow integers go through int64: see `engine.ops.cast`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru.kernels.operands.cast import DIRECT
from fastgru.kernels.registry import handler, tensor
from fastgru.simd.memory import pointer


def _make_cast(target: str) -> Any:
    convert = np.dtype(target).type

    def cast(dtype: str) -> Any:
        """y = x converted.

        Operands: x, y; count.
        """

        def handle(operands, bases, team):
            x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), target)
            for i in range(operands[4]):
                y[i] = convert(x[i])

        def handle_bool(operands, bases, team):
            x, y = pointer(tensor(bases, operands, 0), dtype), pointer(tensor(bases, operands, 2), target)
            for i in range(operands[4]):
                y[i] = 1 if x[i] != 0 else 0

        return handle_bool if target == "bool" else handle

    return cast


for _target, _sources in DIRECT.items():
    handler(f"cast_to_{_target}", *_sources)(_make_cast(_target))
