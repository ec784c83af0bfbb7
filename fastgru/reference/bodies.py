"""Functions for nodes that hold graphs: loops and branches."""

from collections.abc import Sequence
from typing import Any

from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Array, Node, Subgraph
from fastgru.reference.evaluate import check_node, run_nodes
from fastgru.reference.facts import weights
from fastgru.reference.foreign import OUTSIDE, describe_foreign
from fastgru.reference.operand import Dims, Operand, UnknownError

__all__ = ["check_body", "decides", "no_dims", "number", "run_body", "weights_inside"]


def no_dims(*_: Operand | None, **__: Any) -> Dims:
    """Raise `UnknownError`: the axes of the outputs follow from `Facts.bodies`."""
    raise UnknownError


def check_body(body: Subgraph) -> None:
    """Raise as `check_node` unless every node of the body is a complete node of a known operator."""
    for node in body.nodes:
        if node.op in OUTSIDE:
            raise UnsupportedModelError(
                f"{describe_foreign(node)} is in the body of a loop or a branch, where onnx's implementation is not"
                " called; write this node with other operators"
            )
        check_node(node)


def _read_as_weights(body: Subgraph, name: str) -> list[int | None]:
    """Return, for each use of a value, the axis of the outputs in a matrix of weights, None for any other use."""
    return [
        weights(node.op, node.attrs, len(node.inputs)).get(i)
        for node in body.nodes
        for i, read in enumerate(node.inputs)
        if read == name
    ]


def weights_inside(count: int, **attrs: Any) -> dict[int, int | None]:
    """Return {number of the input: axis} for inputs that all nodes in all bodies read as weights along one axis."""
    found = {}
    for i in range(count):
        axes = [
            axis
            for body in attrs.values()
            if isinstance(body, Subgraph) and count - i <= len(body.captured)
            for axis in _read_as_weights(body, body.captured[i - count])
        ]
        if axes and None not in axes and len(set(axes)) == 1:
            found[i] = axes[0]
    return found


def decides(node: Node) -> bool:
    """Return whether data decides what runs in a node, or how often: a branch, or a loop that a condition ends."""
    ends = node.op == "loop" and (bool(node.inputs[1]) or bool(node.attrs["body"].outputs[0]))
    return node.op == "branch" or ends or any(decides(inner) for body in node.bodies.values() for inner in body.nodes)


def number(value: Array, what: str, kinds: str) -> int:
    """Return the one integer (kinds "i") or bool ("b") in `value`. Raises `ShapeError` for anything else."""
    if value.size != 1 or value.dtype.kind not in kinds:
        raise ShapeError(f"{what} is {value.dtype} {value.shape}, expected one {'bool' if kinds == 'b' else 'integer'}")
    return int(value.reshape(-1)[0])


def run_body(body: Subgraph, given: Sequence[Array], captured: Sequence[Array]) -> list[Any]:
    """Return the outputs of a body, None for an absent one."""
    if len(captured) != len(body.captured):
        raise ShapeError(
            f"got {len(captured)} values, expected {len(body.captured)} that the body reads from the graph around it"
        )
    values = dict(zip((*body.inputs, *body.captured), (*given, *captured), strict=True))
    run_nodes(body.nodes, values)
    return [values[name] if name else None for name in body.outputs]
