"""What the integers and bools of an input mean, read off the nodes they reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastgru.graph import Graph
from fastgru.spec import RECURRENT

__all__ = ["Domain", "find_domains"]

# Operators whose output holds nothing but values of their first input (of any input, for concat).
_CARRIES = (
    "cast",
    "reshape",
    "transpose",
    "squeeze",
    "unsqueeze",
    "flatten",
    "expand",
    "tile",
    "concat",
    "split",
    "slice",
)


@dataclass(frozen=True)
class Domain:
    """kind: "ids" (integers from 0 to size - 1), "lengths", "mask" or "any"."""

    kind: str = "any"
    size: int = 2


def find_domains(graph: Graph) -> dict[str, Domain]:
    """The domain of each input by name. An input that reaches two tables takes the smaller one's size."""
    origin: dict[str, set[str]] = {spec.name: {spec.name} for spec in graph.inputs}
    domains = {spec.name: Domain() for spec in graph.inputs}

    def note(value: str, domain: Domain) -> None:
        for name in origin.get(value, ()):
            known = domains[name]
            if known.kind != "ids" or domain.kind != "ids" or domain.size < known.size:
                domains[name] = domain

    def size_of(name: str, axis: int) -> int | None:
        shape = np.shape(graph.constants[name]) if name in graph.constants else ()
        return shape[axis] if -len(shape) <= axis < len(shape) else None

    for node in graph.nodes:
        inputs = (*node.inputs, "", "", "", "")
        if node.op == "embedding" and (rows := size_of(inputs[1], 0)):
            note(inputs[0], Domain("ids", rows))
        elif node.op == "gather" and (rows := size_of(inputs[0], int(node.attrs.get("axis", 0)))):
            note(inputs[1], Domain("ids", rows))
        elif node.op in RECURRENT:
            note(inputs[2], Domain("lengths"))
            note(inputs[3], Domain("mask"))
        elif node.op == "last":
            note(inputs[1], Domain("lengths"))
        elif node.op in _CARRIES:
            carried = inputs if node.op == "concat" else inputs[:1]
            found = set().union(*(origin.get(name, set()) for name in carried))
            for output in node.outputs:
                origin[output] = found
    return domains
