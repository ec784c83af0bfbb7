"""The graph of a file as conversion functions write it: what a node becomes goes by that node's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgru.errors import InvalidModelError
from fastgru.graphbuilder import BuiltNode, Folding, GraphBuilder, Value
from fastgru.reference.facts import ValueFacts
from fastgru.reference.operator import numpy_dtype

__all__ = ["OnnxGraphBuilder"]


class OnnxGraphBuilder(GraphBuilder):
    """Folds constants. node_name: of the ONNX node at hand. warnings: what a user is told in the end."""

    folding: Folding

    def __init__(self) -> None:
        super().__init__(folding=Folding())
        self.node_name = ""
        self.warnings: list[str] = []

    def apart(self) -> OnnxGraphBuilder:
        """Another, with nothing in it and the same budget."""
        other = OnnxGraphBuilder()
        other.node_name, other.folding = self.node_name, self.folding
        return other

    def constant(self, array: Any, hint: str = "constant", dtype: str | None = None) -> Value:
        """A constant of its own."""
        given = np.asarray(array) if dtype is None else np.asarray(array).astype(numpy_dtype(dtype))
        return Value(hint, ValueFacts.of_array(given))

    def integers(self, values: int | Sequence[int], hint: str = "constant") -> Value:
        try:
            return self.constant(np.array(values, dtype=np.int64), hint)
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
        return self.add(op, inputs, self.node_name, attrs)

    def emit_all(
        self, op: str, inputs: Sequence[Value | None], outputs: int, attrs: dict[str, Any]
    ) -> tuple[Value, ...]:
        """The outputs of a node."""
        return self.add_many(op, inputs, [self.node_name] * outputs, attrs)

    def keep(self, op: str, inputs: Sequence[Value | None], outputs: Sequence[Value], attrs: dict[str, Any]) -> None:
        """A node that is neither folded nor looked into."""
        self.nodes.append(BuiltNode(op, tuple(inputs), tuple(outputs), attrs, self.node_name))
