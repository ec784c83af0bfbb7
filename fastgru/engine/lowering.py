"""The table of lowerings: one function for each operator, which emits instructions for a node.

A lowering takes the builder, the node and its input values, and returns its output values. An optional input that the
node does not have is `None`, or is not passed if it comes last. `check_node` has counted the inputs before, so required
inputs are always there.

A lowering that only changes the shape, order or extent of a tensor (reshape, transpose, slice...) returns a view and
emits nothing. The module exports the names that lowerings are written with: the builder, nodes and values.
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
_family: Final = Families("fastgru.engine.ops", _lowerings, homes("fastgru.engine.ops"))
LOWERINGS: Final[Mapping[str, Lowering]] = _family
# The kinds that there are kernels for, by operator. An operator's entry is there once `LOWERINGS` has returned it.
KINDS: Final[dict[str, frozenset[str]]] = {}


def lowering(op: str, *, kinds: Iterable[str] = ()) -> Callable[[Lowering], Lowering]:
    """Register the lowering of an operator of `fastgru.reference.OPS`, and its kinds that there are kernels for."""

    def register(function: Lowering) -> Lowering:
        _family.enter(op, function, function)
        if kinds:
            KINDS[op] = frozenset(kinds)
        return function

    return register
