"""One function an operator: from a node and its input values to output values, emitting instructions on the way.

A lowering takes the builder, the node and one argument an input: `None`, or none at all, where the node has it not.
`check_node` has counted them before, so that an input that the definition asks for is always there.

The words that it is written in come from here, too: the builder, nodes, and the values between them.

A lowering that only moves the frame of a tensor (reshape, transpose, slice...) returns a view and emits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from fastgru.engine.buffers import Constant, Value, View, constant_of
from fastgru.engine.builder import PlanBuilder
from fastgru.graph import Node

__all__ = [
    "KINDS", "LOWERINGS", "Constant", "Lowering", "Node", "PlanBuilder", "Value", "View", "constant_of", "lowering",
]  # fmt: skip

Lowering: TypeAlias = Callable[..., list[Value]]

LOWERINGS: dict[str, Lowering] = {}
KINDS: dict[str, frozenset[str]] = {}  # of operators whose kinds are told when a model is loaded


def lowering(op: str, *, kinds: Iterable[str] = ()) -> Callable[[Lowering], Lowering]:
    """Enter the lowering of an operator of `fastgru.reference.OPS`, and the kinds of it that there are kernels for."""

    def enter(function: Lowering) -> Lowering:
        LOWERINGS[op] = function
        if kinds:
            KINDS[op] = frozenset(kinds)
        return function

    return enter
