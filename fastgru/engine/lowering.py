"""One function an operator: from a node and its input values to output values, emitting instructions on the way.

A lowering takes the builder, the node and one argument an input: `None`, or none at all, where the node has it not.
`check_node` has counted them before, so that an input that the definition asks for is always there.

A lowering that only moves the frame of a tensor (reshape, transpose, slice...) returns a view and emits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from fastgru.engine.buffers import Value

__all__ = ["KINDS", "LOWERINGS", "Lowering", "lowering"]

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
