"""Weighted sums of a few positions along one axis."""

from typing import Any

import numpy as np

from fastgru.kernels.operands.resize import RESAMPLE
from fastgru.kernels.operands.team import LOOK_WORK
from fastgru.kernels.registry import handler, tensor
from fastgru.kernels.team import spend
from fastgru.simd.memory import lanes_of, load, load_tail, offset, pointer, store, store_tail
from fastgru.simd.vector import splat

__all__ = ["resample"]

AT = RESAMPLE.at


@handler("resample", "float32", "float64")
def resample(dtype: str) -> Any:
    """y[o, j, i] = the sum over k < K of w[j, k] x[o, at[j, k], i], in the order of k."""

    def handle(operands, bases, team):
        x, at = pointer(tensor(bases, operands, AT.x), dtype), pointer(tensor(bases, operands, AT.at), "int64")
        w, y = pointer(tensor(bases, operands, AT.w), dtype), pointer(tensor(bases, operands, AT.y), dtype)
        outer, n, out, inner = operands[AT.outer], operands[AT.n], operands[AT.out], operands[AT.inner]
        K = operands[AT.K]
        lanes, look = lanes_of(x), np.int64(LOOK_WORK)
        for o in range(outer):
            for j in range(out):
                look = spend(look, 16 * inner * K, team, bases)
                if look < 0:
                    return
                source, target = offset(x, o * n * inner), offset(y, (o * out + j) * inner)
                places, weights = offset(at, j * K), offset(w, j * K)
                if inner == 1:
                    total = weights[0] * source[places[0]]
                    for k in range(1, K):
                        total += weights[k] * source[places[k]]
                    target[0] = total
                    continue
                i = 0
                while i < inner:
                    left = inner - i
                    if left >= lanes:
                        v = load(source, places[0] * inner + i) * splat(weights[0])
                        for k in range(1, K):
                            v = v + load(source, places[k] * inner + i) * splat(weights[k])
                        store(target, i, v)
                    else:
                        v = load_tail(source, places[0] * inner + i, left) * splat(weights[0])
                        for k in range(1, K):
                            v = v + load_tail(source, places[k] * inner + i, left) * splat(weights[k])
                        store_tail(target, i, v, left)
                    i += lanes

    return handle
