"""Find the chain of layers in a loaded model, past the nodes that its file puts between the layers.

Files carry states in and out through slices and concatenations, begin with zeros of a computed shape, exchange axes,
and add biases by separate nodes. The values on a random input tell which nodes a chain needs: for a layer, a value is
the same as another one if only the first two axes are exchanged, or axes of size 1 are added. The chain is used only if
it computes the same numbers as the model, also with states carried from one run to the next.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph
from fastgru.reference.operator import is_floating
from fastgru.spec import GRUSpec

__all__ = ["straight"]

_SIZES: Final = (5, 3, 7, 11, 13)  # of the free axes of the random input
_ALLOWED: Final = 1e-9


def straight(graph: Graph, output: str, why_not: Callable[[Graph], str | None]) -> Graph | None:
    """Return the chain that computes `output`, in which the layers carry their states. None if there is no chain.

    why_not: tells why a graph is no chain. Weights keep their names and their arrays.
    """
    inputs = [spec for spec in graph.inputs if spec.name not in graph.states]
    if len(inputs) != 1 or graph.starts or not any(node.op == "gru" for node in graph.nodes):
        return None
    x = _sample(graph, inputs[0])
    for rows in dict.fromkeys(x.shape[:2]):
        states = {
            s.name: np.zeros([rows if n is None else n for n in s.shape or ()])
            for s in graph.inputs
            if s.name in graph.states
        }
        try:
            found = _proved(graph, inputs[0], output, {inputs[0].name: x, **states}, why_not)
        except FastGRUError:  # this fails on the data as well, and is reported there
            continue
        if found is not None:
            return found
    return None


def _proved(
    graph: Graph, x: TensorSpec, output: str, feeds: dict[str, Array], why_not: Callable[[Graph], str | None]
) -> Graph | None:
    values = run_graph(graph, feeds, dtype="float64", intermediates=True)
    chain = _chain(graph, x, output, values)
    if chain is None or why_not(chain) is not None:
        return None
    whole, expected = feeds[x.name], values[output]
    if graph.states:
        again = run_graph(graph, {**feeds, **{s: values[t] for s, t in graph.states.items()}}, dtype="float64")
        layer = next(node for node in chain.nodes if node.op == "gru")
        time = 1 if GRUSpec.from_dict(layer.attrs["spec"]).batch_first else 0
        whole, expected = np.concatenate([whole, whole], time), np.concatenate([expected, again[output]], time)
    got = run_graph(chain, {x.name: whole}, dtype="float64")[output]
    if got.shape != expected.shape:
        return None
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    return chain if np.abs(got - expected).max(initial=0) <= _ALLOWED * scale else None


def _sample(graph: Graph, x: TensorSpec) -> Array:
    """Return a random input. Ids are valid for every table of the graph."""
    rng, sizes = np.random.default_rng(0), iter(_SIZES)
    shape = [next(sizes) if size is None else size for size in x.shape or ()]
    if is_floating(np.dtype(x.dtype)):
        return rng.normal(size=shape)
    return rng.integers(0, min((len(graph.constants[t]) for t in _tables(graph)), default=2), shape)


def _tables(graph: Graph) -> set[str]:
    """Return the names of the matrices whose rows are looked up by ids."""
    found = {n.inputs[n.op == "embedding"] for n in graph.nodes if n.op in ("embedding", "gather")}
    return {name for name in found if name in graph.constants and graph.constants[name].ndim == 2}


class _Line:
    """A chain so far. array: the last value, in the layout of the input. name: the name of that value."""

    def __init__(self, name: str, array: Array) -> None:
        self.name, self.array = name, array
        self.nodes: list[Node] = []

    def lies(self, value: Array) -> bool | None:
        """Return whether a value is the last one with its first two axes exchanged. None if it is another value."""
        for transposed, array in ((False, self.array), (True, self.array.swapaxes(0, 1))):
            if value.shape == array.shape and np.array_equal(value, array):
                return transposed
        return None

    def take(self, node: Node, value: Array, *, transposed: bool) -> None:
        self.nodes.append(node)
        self.name, self.array = node.outputs[0], value.swapaxes(0, 1) if transposed else value


def _chain(graph: Graph, x: TensorSpec, output: str, values: Mapping[str, Array]) -> Graph | None:
    """Return the chain of the nodes that change the value, None if there is none."""
    line = _Line(x.name, np.asarray(values[x.name]))
    if line.array.ndim < 2:
        return None
    for node in graph.nodes:
        read = [name for name in node.inputs if name and name not in graph.constants]
        if node.op == "gather" and node.attrs.get("axis", 0) == 0 and node.inputs[0] in _tables(graph):
            node = replace(node, op="embedding", inputs=node.inputs[::-1], attrs={})
        if not read or line.name == output or not node.outputs or node.outputs[0] not in values:
            continue
        value = values[node.outputs[0]]
        main = node.inputs[1] if node.op == "binary" and node.inputs[0] in graph.constants else node.inputs[0]
        transposed = line.lies(values[main]) if main in values and main not in graph.states else None
        if transposed is None or not is_floating(value.dtype) or _same(line, value):
            continue
        if node.op == "binary":
            if not _takes_bias(line, node, graph):
                return None
            bias = node.inputs[0 if main == node.inputs[1] else 1]
            linear = line.nodes.pop()
            made = replace(linear, inputs=(*linear.inputs[:2], bias), outputs=node.outputs[:1])
        else:
            made = _onward(node, line, transposed=transposed)
        line.take(made, value, transposed=transposed)
    if line.lies(values[output]) is not False or not line.nodes:
        return None
    line.nodes[-1] = replace(line.nodes[-1], outputs=(output, *line.nodes[-1].outputs[1:]))
    used = {name for node in line.nodes for name in node.inputs}
    return replace(
        graph,
        inputs=(x,),
        outputs=tuple(spec for spec in graph.outputs if spec.name == output),
        nodes=tuple(line.nodes),
        constants={name: a for name, a in graph.constants.items() if name in used},
        states={},
    )


def _same(line: _Line, value: Array) -> bool:
    """Return whether a value has the same numbers as the line, apart from axes of size 1 and exchanged axes."""
    flat, here = value.squeeze(), line.array.squeeze()
    either = (here, here.swapaxes(0, 1)) if here.ndim > 1 else (here,)
    return any(flat.shape == a.shape and np.array_equal(flat, a) for a in either)


def _takes_bias(line: _Line, node: Node, graph: Graph) -> bool:
    """Return whether a node adds a constant vector to the output of a linear layer that has no bias."""
    constants = [name for name in node.inputs if name in graph.constants]
    if node.attrs.get("kind") != "add" or len(constants) != 1 or not line.nodes:
        return False
    last = line.nodes[-1]
    alone = last.op == "linear" and len([name for name in last.inputs if name]) == 2
    return alone and graph.constants[constants[0]].shape == graph.constants[last.inputs[1]].shape[:1]


def _onward(node: Node, line: _Line, *, transposed: bool) -> Node:
    """Return the node reading the line in the layout of the input, without states, which the chain carries itself."""
    inputs = (line.name, *node.inputs[1:])
    if node.op != "gru":
        return replace(node, inputs=inputs)
    spec = GRUSpec.from_dict(node.attrs["spec"])
    if transposed:
        spec = replace(spec, batch_first=not spec.batch_first)
    return replace(
        node,
        inputs=(line.name, "", *inputs[2:]),
        outputs=node.outputs[:1],
        attrs={**node.attrs, "spec": spec.to_dict()},
    )
