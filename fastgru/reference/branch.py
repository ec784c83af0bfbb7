"""Branches: nodes that run one of two graphs."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastgru.errors import InvalidModelError
from fastgru.graph import Array, Subgraph
from fastgru.reference.bodies import check_body, no_dims, number, run_body, weights_inside
from fastgru.reference.dims import Bodies, Facts
from fastgru.reference.operand import ValueFacts
from fastgru.reference.operator import operator
from fastgru.reference.sizes import Size as Extent

__all__ = ["branch"]

Inputs = Sequence[ValueFacts | None]


def _agree(*, then: Subgraph, otherwise: Subgraph) -> None:
    if then.inputs or otherwise.inputs:
        raise InvalidModelError("a branch has inputs of its own, expected none")
    if len(then.captured) != len(otherwise.captured) or len(then.outputs) != len(otherwise.outputs):
        raise InvalidModelError(
            f"branches that read {len(then.captured)} and {len(otherwise.captured)} values, and have"
            f" {len(then.outputs)} and {len(otherwise.outputs)} outputs, expected as many"
        )
    if "" in (*then.outputs, *otherwise.outputs):
        raise InvalidModelError("an output of a branch is missing")
    check_body(then)
    check_body(otherwise)


def _given(inputs: Inputs, attrs: Mapping[str, Any]) -> dict[str, list[ValueFacts]]:
    return {"then": [], "otherwise": []}


def _found(inputs: Inputs, attrs: Mapping[str, Any], bodies: Mapping[str, Sequence[ValueFacts]]) -> list[ValueFacts]:
    return [
        ValueFacts(a.dtype if a.dtype == b.dtype else None, _common(a.sizes, b.sizes))
        for a, b in zip(bodies["then"], bodies["otherwise"], strict=True)
    ]


def _common(a: tuple[Extent, ...] | None, b: tuple[Extent, ...] | None) -> tuple[Extent, ...] | None:
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(m if m == n else None for m, n in zip(a, b, strict=True))


@operator(
    "branch",
    Facts(no_dims, None, weights=weights_inside, bodies=Bodies(_given, _found, lambda *_: 1)),
    converts=True,
    agree=_agree,
)
def branch(condition: Array, *values: Array, then: Subgraph, otherwise: Subgraph) -> tuple[Array, ...]:
    """The outputs of `then` if the condition holds, otherwise those of `otherwise`. Both read `values`."""
    return tuple(run_body(then if number(condition, "condition", "b") else otherwise, (), values))
