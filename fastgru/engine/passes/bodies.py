"""Passes over the graphs inside nodes: each becomes a graph of its own, whose constants are those that it captures."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from fastgru.graph import Array, Graph, Node, Subgraph, TensorSpec
from fastgru.reference.facts import ValueFacts, infer_graph

__all__ = ["change_bodies"]


def change_bodies(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """Return the graph with `change` applied to the graph of each body.

    Constants that `change` makes become constants of the outer graph, which the body captures.
    """
    if not any(node.bodies for node in graph.nodes):
        return graph
    facts, constants = infer_graph(graph), dict(graph.constants)
    nodes = [_changed(node, constants, facts, change) if node.bodies else node for node in graph.nodes]
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _changed(
    node: Node, constants: dict[str, Array], facts: Mapping[str, ValueFacts], change: Callable[[Graph], Graph]
) -> Node:
    bodies = node.bodies
    count = len(next(iter(bodies.values())).captured)
    outside = node.inputs[len(node.inputs) - count :] if count else ()
    made = {key: change(_graph_of(body, outside, constants, facts)) for key, body in bodies.items()}
    reads = {key: graph.readers() for key, graph in made.items()}
    kept = [i for i in range(count) if any(reads[key][body.captured[i]] for key, body in bodies.items())]
    added: dict[str, None] = {}
    for key, graph in made.items():
        known = {name for name in bodies[key].captured if name in graph.constants}
        for name, array in graph.constants.items():
            if name not in known and reads[key][name]:
                constants[name] = array
                added[name] = None
    after = {
        key: Subgraph(body.inputs, (*(body.captured[i] for i in kept), *added), body.outputs, made[key].nodes)
        for key, body in bodies.items()
    }
    explicit = node.inputs[: len(node.inputs) - count]
    inputs = (*explicit, *(outside[i] for i in kept), *added)
    return replace(node, inputs=inputs, attrs={**node.attrs, **after})


def _graph_of(
    body: Subgraph, outside: tuple[str, ...], constants: Mapping[str, Array], facts: Mapping[str, ValueFacts]
) -> Graph:
    held = {name: constants[outer] for name, outer in zip(body.captured, outside, strict=True) if outer in constants}
    inputs = [_spec(name, facts) for name in (*body.inputs, *body.captured) if name not in held]
    outputs = [_spec(name, facts) for name in body.outputs if name]
    return Graph(tuple(inputs), tuple(outputs), body.nodes, held)


def _spec(name: str, facts: Mapping[str, ValueFacts]) -> TensorSpec:
    known = facts.get(name, ValueFacts())
    shape = None if known.sizes is None else tuple(n if isinstance(n, int) else None for n in known.sizes)
    return TensorSpec(name, known.dtype or "float32", shape)
