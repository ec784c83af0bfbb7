"""The builder of a layer's graph. Values know their dtype and shape, so errors can name the layer that does not fit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fastgru.graph import Graph
from fastgru.graphbuilder import GraphBuilder, Value

__all__ = ["NetworkBuilder"]


class NetworkBuilder(GraphBuilder):
    """float_dtype: the dtype of floating-point inputs, "float32" or "float64". initial_state: see `state`."""

    float_dtype: str

    def __init__(self, float_dtype: str, *, initial_state: bool = False) -> None:
        super().__init__(float_dtype)
        self.initial_state = initial_state
        self._inputs: dict[str, Value] = {}
        self._states: list[tuple[Value | None, Value]] = []
        self._scope = ""

    def open(self, name: str, dtype: str, shape: Sequence[int | None], dims: Sequence[str | None]) -> Value:
        """Return the input `name` of the graph, which is new in the first call."""
        return self._inputs.setdefault(name, self.input(name, dtype, shape, dims))

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix the names of constants with `name` and a dot inside the block, as in a state dict of torch."""
        outer, self._scope = self._scope, f"{self._scope}{name}."
        yield
        self._scope = outer

    def constant(self, array: Any, hint: str) -> Value:
        return super().constant(array, self._scope + hint)

    def apply(self, op: str, *inputs: Value | None, **attrs: Any) -> Value:
        """Add a node with one output, and return that output."""
        return self.add(op, inputs, f"{op}.{len(self.nodes)}", attrs)

    def state(self, rows: int, x: Value, axis: int, size: int) -> Value | None:
        """The initial state (rows, N, size) of the next recurrent layer, where `axis` of x is N.

        Returns a new input of the graph, or None if the states begin with zeros.
        """
        if not self.initial_state:
            return None
        dims = (None, x.dims[axis], None)
        return self.input(f"h0.{len(self._states)}", self.float_dtype, (rows, x.shape[axis], size), dims)

    def next_state(self, before: Value | None, after: Value) -> None:
        """Record `after` as the next value of `before`, which `state` returned."""
        self._states.append((before, after))

    def build(self, y: Value, *, with_states: bool, name: str = "") -> Graph:
        """Return the graph with the output "y" and, if `with_states`, "h_n" (or "h_n_0", "h_n_1"...) for its states."""
        inputs, outputs, states = dict(self._inputs), {"y": y}, {}
        for k, (before, after) in enumerate(self._states):
            tail = "" if len(self._states) == 1 else f"_{k}"
            if before is not None:
                inputs[f"h0{tail}"] = before
            if with_states:
                outputs[f"h_n{tail}"] = after
            if before is not None and with_states:
                states[f"h0{tail}"] = f"h_n{tail}"
        return replace(self.graph(inputs, outputs, states=states), name=name).validate()
