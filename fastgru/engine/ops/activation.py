"""Activations: element by element, operations of a fusion."""

from fastgru.engine.buffers import Value
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.fusion import computed
from fastgru.engine.lowering import lowering
from fastgru.graph import Node
from fastgru.spec import ACTIVATIONS, Activation

__all__ = ["lower_activation"]


@lowering("activation", kinds=ACTIVATIONS)
def lower_activation(builder: PlanBuilder, node: Node, x: Value) -> list[Value]:
    """y = f(x)."""
    f = Activation(**node.attrs)
    return [computed(builder, f.kind, builder.view(x), alpha=f.alpha, beta=f.beta)]
