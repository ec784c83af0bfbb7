"""Nodes of our operator table out of ONNX nodes, folded to constants where all their inputs are constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import FastGRUError, InvalidModelError
from fastgru.graph import Node
from fastgru.importers.onnx.sizes import element_sizes, sizes_from
from fastgru.importers.onnx.values import Kind, Value, infer
from fastgru.reference import evaluate
from fastgru.reference.einsum import label_sizes, parse_equation
from fastgru.reference.facts import bound
from fastgru.reference.operator import numpy_dtype
from fastgru.spec import RECURRENT

__all__ = ["Builder", "Emitted"]

Array = NDArray[Any]

# What folding may produce: chains of Slice, Concat and Transpose copy each weight a few times, and a file that
# declares more than that is out to fill the memory.
_FOLD_BASE_BYTES: Final = 64 << 20
_FOLD_BYTES_PER_READ_BYTE: Final = 4
# Products larger than this stay nodes. In multiplications, counted over the whole file.
_FOLD_WORK: Final = 2_000_000_000
_SLOW_INTEGER_PRODUCT: Final = 50
_VIEWS: Final = frozenset({"flatten", "reshape", "slice", "split", "squeeze", "transpose", "unsqueeze"})
_SLOW_UNARY: Final = frozenset({"erf", "gelu"})


@dataclass
class _Budget:
    """What folding may still make and do, for a whole file."""

    nbytes: int = _FOLD_BASE_BYTES
    work: int = _FOLD_WORK


@dataclass(frozen=True)
class Emitted:
    """A node whose values have no names yet."""

    op: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attrs: dict[str, Any]
    name: str


class Builder:
    """Collects nodes. Values are named at the end, when it is known which of them are left."""

    def __init__(self) -> None:
        self.nodes: list[Emitted] = []
        self.node_name = ""
        self.warnings: list[str] = []
        self._left = _Budget()

    def apart(self) -> Builder:
        """Another, with nothing in it and the same budget."""
        other = Builder()
        other.node_name = self.node_name
        other._left = self._left
        return other

    def grant(self, nbytes: int) -> None:
        """Constants of `nbytes` were read from the file: as much again, and more, may be folded from them."""
        self._left.nbytes += _FOLD_BYTES_PER_READ_BYTE * nbytes

    def constant(self, array: Any, hint: str = "constant", dtype: str | None = None) -> Value:
        given = np.asarray(array) if dtype is None else np.asarray(array).astype(numpy_dtype(dtype))
        return Value.constant(given, hint)

    def integers(self, values: Sequence[int], hint: str = "constant") -> Value:
        """A vector of int64, as shapes, axes and positions are."""
        try:
            return Value.constant(np.array(list(values), dtype=np.int64), hint)
        except OverflowError:
            raise InvalidModelError(f"{self.node_name}: an integer of {hint} does not fit 64 bits") from None

    def scalar(self, number: float, like: Value) -> Value:
        """A constant of the dtype of `like`; `InvalidModelError` for a number that this does not hold."""
        if like.dtype is None:
            raise InvalidModelError(f"{self.node_name}: the dtype of {like.hint!r} cannot be told from the file")
        kind = numpy_dtype(like.dtype)
        whole = float(number).is_integer()
        if kind.kind in "iu" and not (whole and np.iinfo(kind).min <= int(number) <= np.iinfo(kind).max):
            raise InvalidModelError(f"{self.node_name}: {number} is no {like.dtype}, which {like.hint!r} is of")
        return self.constant(number, dtype=like.dtype)

    def emit(self, op: str, *inputs: Value | None, **attrs: Any) -> Value:
        """The output of a node with one output."""
        return self.emit_all(op, inputs, 1, attrs)[0]

    def emit_all(
        self, op: str, inputs: Sequence[Value | None], outputs: int, attrs: dict[str, Any]
    ) -> tuple[Value, ...]:
        """The outputs of a node: constants if the inputs are."""
        inputs = tuple(inputs)
        while inputs and inputs[-1] is None and op not in RECURRENT:  # whose weights come in a row
            inputs = inputs[:-1]
        try:
            kinds = infer(op, inputs, attrs, outputs)
        except FastGRUError as error:
            raise InvalidModelError(f"{self.node_name}: {error}") from None
        if all(v is None or v.array is not None for v in inputs):
            folded = self._fold(op, [None if v is None else v.array for v in inputs], outputs, attrs, kinds)
            if folded is not None:
                return folded
        elements = element_sizes(op, inputs, attrs)
        if elements is not None and all(isinstance(n, int) for n in elements) and kinds[0].rank in (0, 1):
            known = np.array(elements, dtype=kinds[0].dtype).reshape((-1,) if kinds[0].rank else ())
            return (Value.constant(known, self.node_name),)
        values = tuple(Value(kind, self.node_name) for kind in kinds)
        for i, value in enumerate(values):
            sizes = sizes_from(op, inputs, attrs, i)
            value.sizes = sizes if sizes is not None and len(sizes) == value.rank else None
            value.elements = elements
        self.nodes.append(Emitted(op, inputs, values, attrs, self.node_name))
        return values

    def keep(self, op: str, inputs: Sequence[Value | None], outputs: Sequence[Value], attrs: dict[str, Any]) -> None:
        """A node that is neither folded nor looked into."""
        self.nodes.append(Emitted(op, tuple(inputs), tuple(outputs), attrs, self.node_name))

    def _fold(
        self, op: str, arrays: list[Array | None], outputs: int, attrs: dict[str, Any], kinds: list[Kind]
    ) -> tuple[Value, ...] | None:
        node = Node(op, tuple("" if a is None else "constant" for a in arrays), ("",) * outputs, attrs, self.node_name)
        try:
            elements = bound(node, arrays)
            nbytes = 0 if op in _VIEWS else elements * _item_bytes(kinds[0].dtype) * outputs
            if nbytes > self._left.nbytes:
                raise InvalidModelError(f"{op} of constants makes {nbytes} bytes, {self._left.nbytes} are left to it")
            work = _work(op, arrays, attrs, elements)
            if work > self._left.work:
                return None
            self._left.nbytes -= nbytes
            self._left.work -= work
            results = evaluate(node, arrays)
        except FastGRUError as error:
            raise InvalidModelError(f"{self.node_name}: {error}") from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise InvalidModelError(f"{self.node_name}: {op} of constants: {error}") from None
        if len(results) != outputs:
            raise InvalidModelError(f"{self.node_name}: {outputs} outputs are named, {op} has {len(results)}")
        return tuple(Value.constant(array, self.node_name) for array in results)


def _item_bytes(dtype: str | None) -> int:
    return 8 if dtype is None else numpy_dtype(dtype).itemsize


def _work(op: str, arrays: list[Array | None], attrs: dict[str, Any], elements: int) -> int:
    """Multiplications beyond one or two an element."""
    a = [x for x in arrays if x is not None]
    if op in ("matmul", "matmul_integer", "linear"):
        inner = a[0].shape[-1] if a[0].ndim else 1
        return elements * inner * (_SLOW_INTEGER_PRODUCT if op != "matmul_integer" and a[0].dtype.kind != "f" else 1)
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
