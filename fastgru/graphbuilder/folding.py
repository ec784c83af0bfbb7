"""Nodes of constants carried out while a graph is built, within a budget: a file may declare far more than it holds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.errors import FastGRUError, InvalidModelError
from fastgru.graph import Array, Node
from fastgru.records import dataclass
from fastgru.reference.evaluate import evaluate, in_precision
from fastgru.reference.facts import VIEWS, ValueFacts, bound, flops
from fastgru.reference.operator import is_floating, numpy_dtype
from fastgru.spec import RECURRENT

__all__ = ["Folding"]


# What folding may produce: chains of Slice, Concat and Transpose copy each weight a few times, and a file that
# declares more than that is out to fill the memory.
_BASE_BYTES: Final = 64 << 20
_BYTES_PER_READ_BYTE: Final = 4
# What takes more stays nodes. In flops, counted over the whole graph; NumPy's ways that are slow count for more.
_WORK: Final = 4_000_000_000
_SLOW_INTEGER_GEMM: Final = 50
_SLOW_UNARY: Final = {"erf": 200, "gelu": 200}
_STEP: Final = 200_000  # of a recurrent layer, in Python


@dataclass
class Folding:
    """What folding may still make (in bytes) and do (in flops), for a whole graph."""

    nbytes: int = _BASE_BYTES
    work: int = _WORK

    def grant(self, nbytes: int) -> None:
        """Constants of `nbytes` were read from the file: as much again, and more, may be folded from them."""
        self.nbytes += _BYTES_PER_READ_BYTE * nbytes

    def fold(
        self,
        op: str,
        inputs: Sequence[ValueFacts | None],
        attrs: Mapping[str, Any],
        found: Sequence[ValueFacts],
        *,
        exactly: bool = False,
    ) -> tuple[Array, ...] | None:
        """The outputs; None where they cost more than is left, and are better left a node.

        found: what is known of them. exactly: and where they are rounded, as a plan carries constants out in float64
        whatever their own precision.
        Raises `InvalidModelError` where they cannot be computed, or would not fit what may be made.
        """
        arrays = [None if facts is None else facts.array for facts in inputs]
        node = Node(op, tuple("" if a is None else "constant" for a in arrays), ("",) * len(found), attrs)
        try:
            each = 8 if found[0].dtype is None else numpy_dtype(found[0].dtype).itemsize
            nbytes = 0 if op in VIEWS else bound(node, arrays) * each * len(found)
            if nbytes > self.nbytes:
                raise InvalidModelError(f"{op} of constants makes {nbytes} bytes, {self.nbytes} are left to it")
            cost = _cost(op, inputs, attrs, found)
            if cost > self.work:
                return None
            self.nbytes -= nbytes
            self.work -= cost
            results = evaluate(node, arrays)
            if exactly and not all(map(_same, results, evaluate(in_precision(node, "float64"), _wide(arrays)))):
                return None
        except FastGRUError as error:
            raise InvalidModelError(str(error)) from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise InvalidModelError(f"{op} of constants: {error}") from None
        if len(results) != len(found):
            raise InvalidModelError(f"got {len(found)} outputs, expected at most {len(results)} of {op}")
        return results


def _wide(arrays: Sequence[Array | None]) -> list[Array | None]:
    return [a.astype(np.float64) if a is not None and is_floating(a.dtype) else a for a in arrays]


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a.astype(b.dtype), b, equal_nan=is_floating(b.dtype))


def _cost(op: str, inputs: Sequence[ValueFacts | None], attrs: Mapping[str, Any], found: Sequence[ValueFacts]) -> int:
    """What NumPy has to do, where 1 takes it as long as a flop of a GEMM of floats."""
    number, first = flops(op, inputs, attrs, found), inputs[0] if inputs else None
    if not isinstance(number, int):  # its definition says what is wrong with it
        return 0
    if op in RECURRENT and first is not None and first.array is not None:
        return int(number + _STEP * math.prod(first.array.shape[:2]))
    if op in ("matmul", "linear") and first is not None and first.array is not None and first.array.dtype.kind != "f":
        return _SLOW_INTEGER_GEMM * number
    return number * (_SLOW_UNARY.get(attrs["kind"], 1) if op == "unary" else 1)
