"""Nodes of constants carried out while a graph is built, within a budget: a file may declare far more than it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from fastgru.errors import FastGRUError, InvalidModelError
from fastgru.graph import Node
from fastgru.reference import evaluate
from fastgru.reference.einsum import label_sizes, parse_equation
from fastgru.reference.facts import bound
from fastgru.reference.operator import numpy_dtype
from fastgru.spec import RECURRENT

__all__ = ["Folding"]

Array = NDArray[Any]

# What folding may produce: chains of Slice, Concat and Transpose copy each weight a few times, and a file that
# declares more than that is out to fill the memory.
_BASE_BYTES: Final = 64 << 20
_BYTES_PER_READ_BYTE: Final = 4
# GEMMs larger than this stay nodes. In multiplications, counted over the whole graph.
_WORK: Final = 2_000_000_000
_SLOW_INTEGER_GEMM: Final = 50
_VIEWS: Final = frozenset({"flatten", "reshape", "slice", "split", "squeeze", "transpose", "unsqueeze"})
_SLOW_UNARY: Final = frozenset({"erf", "gelu"})


@dataclass
class Folding:
    """What folding may still make (in bytes) and do (in multiplications), for a whole graph."""

    nbytes: int = _BASE_BYTES
    work: int = _WORK

    def grant(self, nbytes: int) -> None:
        """Constants of `nbytes` were read from the file: as much again, and more, may be folded from them."""
        self.nbytes += _BYTES_PER_READ_BYTE * nbytes

    def fold(
        self, op: str, arrays: Sequence[Array | None], attrs: Mapping[str, Any], dtypes: Sequence[str | None]
    ) -> tuple[Array, ...] | None:
        """The outputs, one of each of `dtypes`; None where they cost more than is left, and are better left a node.

        Raises `InvalidModelError` where they cannot be computed, or would not fit what may be made.
        """
        node = Node(op, tuple("" if a is None else "constant" for a in arrays), ("",) * len(dtypes), attrs)
        try:
            elements = bound(node, arrays)
            each = 8 if dtypes[0] is None else numpy_dtype(dtypes[0]).itemsize
            nbytes = 0 if op in _VIEWS else elements * each * len(dtypes)
            if nbytes > self.nbytes:
                raise InvalidModelError(f"{op} of constants makes {nbytes} bytes, {self.nbytes} are left to it")
            work = _work(op, arrays, attrs, elements)
            if work > self.work:
                return None
            self.nbytes -= nbytes
            self.work -= work
            results = evaluate(node, arrays)
        except FastGRUError as error:
            raise InvalidModelError(str(error)) from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise InvalidModelError(f"{op} of constants: {error}") from None
        if len(results) != len(dtypes):
            raise InvalidModelError(f"{len(dtypes)} outputs are named, {op} has {len(results)}")
        return results


def _work(op: str, arrays: Sequence[Array | None], attrs: Mapping[str, Any], elements: int) -> int:
    """Multiplications beyond one or two an element."""
    a = [x for x in arrays if x is not None]
    if op in ("matmul", "matmul_integer", "linear"):
        inner = a[0].shape[-1] if a[0].ndim else 1
        return elements * inner * (_SLOW_INTEGER_GEMM if op != "matmul_integer" and a[0].dtype.kind != "f" else 1)
    if op in ("conv", "conv_integer", "conv_transpose"):
        return elements * (a[1].size // max(a[1].shape[0] if a[1].ndim else 1, 1))
    if op == "einsum":
        labels, _ = parse_equation(attrs["equation"], [x.ndim for x in a])
        return math.prod(label_sizes(labels, [x.shape for x in a]).values()) * len(a)
    if op in RECURRENT:
        steps = math.prod(a[0].shape[:2])
        return steps * (sum(x.size for x in a[1:]) + 100_000)
    if op == "unary" and attrs.get("kind") in _SLOW_UNARY:
        return 100 * elements
    return 0
