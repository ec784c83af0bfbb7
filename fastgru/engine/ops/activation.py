"""Activations: element by element, operations of a fusion."""

from __future__ import annotations

from collections.abc import Sequence

from fastgru.engine.buffers import Value
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.fusion import computed
from fastgru.engine.lowering import lowering
from fastgru.graph import Node
from fastgru.spec import ACTIVATIONS, Activation

__all__ = ["lower_activation"]


@lowering("activation", kinds=ACTIVATIONS)
def lower_activation(builder: PlanBuilder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """y = f(x)."""
    assert inputs[0] is not None
    f = Activation(**node.attrs)
    return [computed(builder, f.kind, builder.view(inputs[0]), alpha=f.alpha, beta=f.beta)]
