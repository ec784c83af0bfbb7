"""Lower nodes to instructions, one node after the other: those of a graph, or those of a body inside a node."""

from collections.abc import Iterable
from typing import Final

from fastgru.engine.buffers import Constant, Value
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.lowering import LOWERINGS
from fastgru.engine.passes import fold_node
from fastgru.errors import FastGRUError
from fastgru.graph import Node

__all__ = ["lower_nodes"]

# The most elements of a value that is computed while planning: a larger one is more likely hostile than meant.
_MAX_ELEMENTS: Final = 1 << 26
_WIDEST: Final = 8  # bytes of the widest element


def lower_nodes(builder: PlanBuilder, nodes: Iterable[Node], values: dict[str, Value]) -> None:
    """Add the outputs of the nodes to `values`.

    A node whose inputs are all constants is evaluated by its definition now, unless its rows are kept in int8 or it
    has bodies; every other node emits its instructions. Raises `ShapeError` or `UnsupportedModelError` naming the node.
    """
    for node in nodes:
        builder.label = str(node)
        if (rows := builder.precisions.rows.get(node.outputs[0])) is not None:
            values[node.outputs[0]] = rows
            continue
        reads = [values[name] if name else None for name in node.inputs]
        if reads and not node.bodies and all(v is None or isinstance(v, Constant) for v in reads):
            arrays = [v.array if isinstance(v, Constant) else None for v in reads]
            results = fold_node(node, arrays, max_elements=min(_MAX_ELEMENTS, builder.room.left // _WIDEST))
            builder.room.hold(results, builder.label)
            outputs: list[Value] = [Constant(array) for array in results]
        else:
            try:
                outputs = LOWERINGS[node.op](builder, node, *reads)
            except FastGRUError as error:
                if str(node) in str(error):
                    raise
                raise type(error)(f"{node}: {error}") from None
        values.update((name, value) for name, value in zip(node.outputs, outputs, strict=False) if name)
