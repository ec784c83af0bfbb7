"""Look-ups by id in a table of 16 or 8 bits, as float32."""

from typing import Any

import numpy as np

from fastgru.kernels.operands.embedding import EMBEDDING
from fastgru.kernels.operands.lowp import table_row
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import INDEX_OUT_OF_RANGE, fail, handler, kernel, tensor
from fastgru.kernels.team import spend
from fastgru.simd.memory import address, offset, pointer

__all__ = ["embedding_bfloat16", "embedding_int8"]

AT = EMBEDDING.at

_table_row = kernel(table_row)


@handler("embedding_bfloat16", "float32")
def embedding_bfloat16(dtype: str) -> Any:
    """y[i] = table[ids[i]]: the bits of a bfloat16 are the upper half of a float32."""

    def handle(operands, bases, team):
        ids, table = (
            pointer(tensor(bases, operands, AT.ids), "int64"),
            pointer(tensor(bases, operands, AT.table), "uint16"),
        )
        y = pointer(tensor(bases, operands, AT.y), "int32")
        count, V, D = operands[AT.count], operands[AT.V], operands[AT.D]
        left = np.int64(LOOK_WORK)
        for i in range(count):
            left = spend(left, 16 * D, team, bases)
            if left < 0:
                return
            where = ids[i]
            if where < 0 or where >= V:
                fail(bases, INDEX_OUT_OF_RANGE, where, V)
                return
            row, out = offset(table, where * D), offset(y, i * D)
            for k in range(D):
                out[k] = np.int32(row[k]) << np.int32(16)

    return handle


@handler("embedding_int8", "float32")
def embedding_int8(dtype: str) -> Any:
    """y[i] = scale * values, both of row ids[i]."""

    def handle(operands, bases, team):
        ids, table = (
            pointer(tensor(bases, operands, AT.ids), "int64"),
            pointer(tensor(bases, operands, AT.table), "int8"),
        )
        y = pointer(tensor(bases, operands, AT.y), dtype)
        count, V, D = operands[AT.count], operands[AT.V], operands[AT.D]
        width = _table_row(D)
        left = np.int64(LOOK_WORK)
        for i in range(count):
            left = spend(left, 16 * D, team, bases)
            if left < 0:
                return
            where = ids[i]
            if where < 0 or where >= V:
                fail(bases, INDEX_OUT_OF_RANGE, where, V)
                return
            row, out = offset(table, where * width), offset(y, i * D)
            scale = pointer(address(row), "float32")[0]
            for k in range(D):
                out[k] = np.float32(row[4 + k]) * scale

    return handle
