"""Compute nodes of constants while a graph is built, within a budget: a file may declare far more than it holds."""

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


# The limit of what folding may make. Chains of Slice, Concat and Transpose copy each weight a few times; a file that
# declares more than that is meant to exhaust memory.
_BASE_BYTES: Final = 64 << 20
_BYTES_PER_READ_BYTE: Final = 4
# Nodes beyond this limit are not folded. In flops over the whole graph; slow operations of NumPy count for more.
_WORK: Final = 4_000_000_000
_SLOW_INTEGER_GEMM: Final = 50
_SLOW_UNARY: Final = {"erf": 200, "gelu": 200}
_STEP: Final = 200_000  # the cost of a step of a recurrent layer in Python


@dataclass
class Folding:
    """The budget of folding for a whole graph. nbytes, work: the bytes and flops that are left."""

    nbytes: int = _BASE_BYTES
    work: int = _WORK

    def grant(self, nbytes: int) -> None:
        """Add to the budget for constants of `nbytes` that were read from the file: four times as many bytes."""
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
        """Return the outputs, None if the node should stay because it costs more flops than are left.

        found: what is known of the outputs. exactly: also None if the outputs differ from those computed in float64,
        in which a plan computes constants of any precision.

        Raises `InvalidModelError` if the outputs cannot be computed, or take more bytes than are left.
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
    """Return the cost of a node in NumPy. The unit is the time of a flop in a GEMM of floats."""
    number, first = flops(op, inputs, attrs, found), inputs[0] if inputs else None
    if not isinstance(number, int):  # its definition will report what is wrong
        return 0
    if op in RECURRENT and first is not None and first.array is not None:
        return int(number + _STEP * math.prod(first.array.shape[:2]))
    if op in ("matmul", "linear") and first is not None and first.array is not None and first.array.dtype.kind != "f":
        return _SLOW_INTEGER_GEMM * number
    return number * (_SLOW_UNARY.get(attrs["kind"], 1) if op == "unary" else 1)
