"""Planning: make a program from a graph and the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from fastgru.engine.buffers import Constant, Value, View
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.lowering import KINDS, LOWERINGS
from fastgru.engine.memory import Packs
from fastgru.engine.nodes import lower_nodes
from fastgru.engine.precision import PrecisionPlan
from fastgru.engine.program import Program
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph, Node, every_node, inlined
from fastgru.kernels.operands.cast import CAST
from fastgru.reference import check_node
from fastgru.reference.facts import weights

__all__ = ["RECURRENT", "check_supported", "given_weights", "make_program"]

RECURRENT: Final = ("gru", "lstm", "rnn")


def check_supported(graph: Graph) -> None:
    """Raise `UnsupportedModelError` that lists every node without a lowering, or of a kind without a kernel.

    Raises `InvalidModelError` for a node that lacks an input or attribute.
    """
    faults = []
    for node in every_node(graph.nodes):
        if node.op not in LOWERINGS:
            faults.append(f"{node} (operator {node.op!r})")
            continue
        try:
            check_node(node)
        except UnsupportedModelError as error:
            faults.append(str(error))
            continue
        kind = node.attrs.get("kind")
        if node.op in KINDS and kind not in KINDS[node.op]:
            faults.append(f"{node} (operator {node.op!r}, kind {kind!r})")
    around = {*(spec.name for spec in graph.inputs), *(name for node in graph.nodes for name in node.outputs)}
    inside = dict.fromkeys(str(node) for name, node in given_weights(graph).items() if name not in around)
    faults += [
        f"{node} (of weights that are computed in a loop or branch: compute them before it, or make them constants)"
        for node in inside
    ]
    if faults:
        raise UnsupportedModelError(
            f"{len(faults)} node(s) that the engine cannot run: {', '.join(faults)};"
            " fastgru.reference.run_graph runs what the definitions know in NumPy"
        )


def given_weights(graph: Graph) -> dict[str, Node]:
    """Return the weights of recurrent layers, also inside bodies, that depend on inputs: their nodes by name."""
    depends = {spec.name for spec in graph.inputs}
    depends.update(name for node in every_node(graph.nodes) for body in node.bodies.values() for name in body.inputs)
    found: dict[str, Node] = {}
    for node in inlined(graph.nodes):
        if node.op in RECURRENT:
            places = weights(node.op, node.attrs, len(node.inputs))
            found.update((node.inputs[i], node) for i in places if node.inputs[i] in depends)
        if any(name in depends for name in node.inputs if name):
            depends.update(name for name in node.outputs if name)
    return found


@np.errstate(all="ignore")  # constants beyond the range of the plan's precision become infinite
def make_program(
    graph: Graph,
    shapes: Mapping[str, tuple[int, ...]],
    precisions: PrecisionPlan,
    packs: Packs,
    members: int = 1,
) -> Program:
    """Plan every node for inputs of these shapes and of the dtypes that the graph declares.

    Raises `ShapeError` or `UnsupportedModelError` naming the node.
    """
    dead: dict[tuple[int, str], str] = {}
    while True:
        known = len(dead)
        try:
            return _planned(graph, shapes, precisions, packs, members, dead)
        except ShapeError:
            if len(dead) == known:  # the error does not come from a branch
                raise


def _planned(
    graph: Graph,
    shapes: Mapping[str, tuple[int, ...]],
    precisions: PrecisionPlan,
    packs: Packs,
    members: int,
    dead: dict[tuple[int, str], str],
) -> Program:
    """Plan once. dead: the branches that cannot take these shapes; a plan that fails may add to them."""
    given = sum(array.nbytes for array in graph.constants.values())
    builder = PlanBuilder(precisions, packs, members, given)
    builder.dead = dead
    values: dict[str, Value] = {name: Constant(array, name) for name, array in graph.constants.items()}
    inputs = {spec.name: builder.input(spec.name, shapes[spec.name], spec.dtype) for spec in graph.inputs}
    builder.label = "inputs"
    values.update((name, _plain(builder, view)) for name, view in inputs.items())
    lower_nodes(builder, graph.nodes, values)
    return builder.finish(inputs, {spec.name: values[spec.name] for spec in graph.outputs})


def _plain(builder: PlanBuilder, view: View) -> View:
    """Return an input as the handlers expect it: every byte of a bool 0 or 1."""
    if view.dtype != "bool" or not view.size:
        return view
    plain = builder.new(view.shape, "bool")
    builder.emit("truth", "bool", CAST, {"x": view, "y": plain, "count": view.size})
    return plain
