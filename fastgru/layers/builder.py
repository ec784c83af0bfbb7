"""A graph while it is being written: values know their dtype and shape, so that layers that do not fit are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from fastgru.graph import Graph, Node, TensorSpec

__all__ = ["GraphBuilder"]


class GraphBuilder:
    """Collects nodes and constants; a value is a `TensorSpec` whose name is unique in the graph.

    float_dtype: "float32" or "float64", what floating-point inputs are declared as.
    initial_state: whether `state` opens an input for each recurrent layer.
    """

    def __init__(self, float_dtype: str, *, initial_state: bool = False) -> None:
        self.float_dtype = float_dtype
        self.initial_state = initial_state
        self._inputs: list[TensorSpec] = []
        self._nodes: list[Node] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._states: list[tuple[TensorSpec | None, TensorSpec]] = []

    def input(self, name: str, dtype: str, shape: tuple[int | None, ...], dims: tuple[str | None, ...]) -> TensorSpec:
        spec = TensorSpec(name, dtype, shape, dims)
        self._inputs.append(spec)
        return spec

    def constant(self, hint: str, array: NDArray[Any]) -> str:
        """The name of a new constant."""
        name = f"{hint}.{len(self._constants)}"
        self._constants[name] = array
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[TensorSpec | str | None],
        outputs: Sequence[TensorSpec],
        attrs: Mapping[str, Any] | None = None,
    ) -> tuple[TensorSpec, ...]:
        """Append a node. `outputs` say dtype, shape and dims; their names are hints. Returns them, named."""
        names = tuple("" if i is None else i if isinstance(i, str) else i.name for i in inputs)
        index = len(self._nodes)
        values = tuple(replace(spec, name=f"{spec.name}.{index}") for spec in outputs)
        self._nodes.append(Node(op, names, tuple(v.name for v in values), dict(attrs or {}), f"{op}.{index}"))
        return values

    def apply(self, op: str, x: TensorSpec, *inputs: TensorSpec | str | None, **attrs: Any) -> TensorSpec:
        """A node with one output that is as x is."""
        return self.node(op, (x, *inputs), (replace(x, name=op),), attrs)[0]

    def state(self, shape: tuple[int | None, ...], dims: tuple[str | None, ...]) -> TensorSpec | None:
        """The initial state of the next recurrent layer: a new input, or None where the graph starts from zeros."""
        if not self.initial_state:
            return None
        return self.input(f"h0.{len(self._states)}", self.float_dtype, shape, dims)

    def next_state(self, before: TensorSpec | None, after: TensorSpec) -> None:
        """Say that `after` is what `before`, of `state`, becomes."""
        self._states.append((before, after))

    def build(self, y: TensorSpec, *, with_states: bool, name: str = "") -> Graph:
        """The graph with output "y", and with outputs "h_n" (or "h_n_0", "h_n_1"...) for its states if asked for."""
        if any(y.name == spec.name for spec in self._inputs):
            y = self.apply("activation", y, kind="affine", alpha=1.0, beta=0.0)
        names = {y.name: "y"}
        outputs = [replace(y, name="y")]
        states = {}
        for k, (before, after) in enumerate(self._states if with_states else ()):
            tail = "" if len(self._states) == 1 else f"_{k}"
            names[after.name] = f"h_n{tail}"
            outputs.append(replace(after, name=f"h_n{tail}"))
            if before is not None:
                names[before.name] = f"h0{tail}"
                states[f"h0{tail}"] = f"h_n{tail}"
        return Graph(
            inputs=tuple(replace(spec, name=names.get(spec.name, spec.name)) for spec in self._inputs),
            outputs=tuple(outputs),
            nodes=tuple(
                replace(
                    node,
                    inputs=tuple(names.get(n, n) for n in node.inputs),
                    outputs=tuple(names.get(n, n) for n in node.outputs),
                )
                for node in self._nodes
            ),
            constants=self._constants,
            states=states,
            name=name,
        ).validate()
