"""One function an operator: from a node and its input values to output values, emitting instructions on the way.

A lowering that only moves the frame of a tensor (reshape, transpose, slice...) returns a view and emits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from fastgru.engine.buffers import Value
from fastgru.engine.builder import PlanBuilder
from fastgru.graph import Node

__all__ = ["LOWERINGS", "Lowering", "lowering"]

Lowering: TypeAlias = Callable[[PlanBuilder, Node, Sequence[Value | None]], list[Value]]

LOWERINGS: dict[str, Lowering] = {}


def lowering(op: str) -> Callable[[Lowering], Lowering]:
    """Enter the lowering of an operator of `fastgru.reference.OPS`."""

    def enter(function: Lowering) -> Lowering:
        LOWERINGS[op] = function
        return function

    return enter
