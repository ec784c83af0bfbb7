"""One function an operator: from a node and its input values to output values, emitting instructions on the way.

A lowering takes the builder, the node and one argument an input: `None`, or none at all, where the node has it not.
`check_node` has counted them before, so that an input that the definition asks for is always there.

The words that it is written in come from here, too: the builder, nodes, and the values between them.

A lowering that only moves the frame of a tensor (reshape, transpose, slice...) returns a view and emits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from fastgru.engine.buffers import Constant, Value, View, constant_of
from fastgru.engine.builder import PlanBuilder
from fastgru.families import homes
from fastgru.graph import Node
from fastgru.modules import Families

__all__ = [
    "KINDS", "LOWERINGS", "Constant", "Lowering", "Node", "PlanBuilder", "Value", "View", "constant_of", "lowering",
]  # fmt: skip

Lowering: TypeAlias = Callable[..., list[Value]]

_lowerings: Final[dict[str, Lowering]] = {}
LOWERINGS: Final[Mapping[str, Lowering]] = Families("fastgru.engine.ops", _lowerings, homes("fastgru.engine.ops"))
# Of operators whose kinds are told when a model is loaded; it is whole for one that was found in `LOWERINGS`.
KINDS: Final[dict[str, frozenset[str]]] = {}


def lowering(op: str, *, kinds: Iterable[str] = ()) -> Callable[[Lowering], Lowering]:
    """Enter the lowering of an operator of `fastgru.reference.OPS`, and the kinds of it that there are kernels for."""

    def enter(function: Lowering) -> Lowering:
        if kinds:
            KINDS[op] = frozenset(kinds)
        _lowerings[op] = function
        return function

    return enter
