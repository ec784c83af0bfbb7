"""From values without names to a `Graph`: ONNX's own names where it has one, none of them twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Node
from fastgru.importers.onnx.builder import Builder, Emitted
from fastgru.importers.onnx.values import Value

__all__ = ["Parts", "assemble"]

Array = NDArray[Any]
Parts = tuple[tuple[Node, ...], dict[str, Array]]


def assemble(
    build: Builder, inputs: Mapping[str, Value], outputs: Mapping[str, Value], names: Mapping[str, Value]
) -> Parts:
    """The nodes that `outputs` depend on, and the constants that these nodes read or that are outputs.

    names: every name of the file with its value; a value of several names keeps the first, and an output always gets
    its own: where one value would have to carry two, a reshape to its own shape makes the second.
    """
    chosen: dict[int, str] = {id(value): name for name, value in inputs.items()}
    copies: list[tuple[str, Value]] = []
    constants: dict[str, Array] = {}
    for name, value in outputs.items():
        if value.array is not None:
            constants[name] = _owned(value.array)
            chosen.setdefault(id(value), name)
        elif chosen.setdefault(id(value), name) != name:
            copies.append((name, value))
    for name, value in copies:
        _copy(build, name, value, chosen)
    kept = _needed(build.nodes, outputs.values(), {name for name, _ in copies}, chosen)
    present = {id(value) for emitted in kept for value in (*emitted.inputs, *emitted.outputs)}
    used = {*inputs, *outputs}
    counts: dict[str, int] = {}
    for name, value in names.items():
        if id(value) in present and id(value) not in chosen and name not in used:
            chosen[id(value)] = name
            used.add(name)

    def name_of(value: Value | None) -> str:
        if value is None:
            return ""
        if id(value) not in chosen:
            chosen[id(value)] = _free(value.hint or "value", used, counts)
        return chosen[id(value)]

    nodes = []
    for emitted in kept:
        for read in emitted.inputs:
            if read is not None and read.array is not None:
                constants[name_of(read)] = _owned(read.array)
        nodes.append(
            Node(
                emitted.op,
                tuple(name_of(v) for v in emitted.inputs),
                tuple(name_of(v) for v in emitted.outputs),
                emitted.attrs,
                emitted.name,
            )
        )
    return tuple(nodes), constants


def _copy(build: Builder, name: str, value: Value, chosen: dict[int, str]) -> None:
    build.node_name = name
    shape = build.emit("shape", value)
    chosen[id(build.emit("reshape", value, shape))] = name


def _needed(
    nodes: list[Emitted], outputs: Iterable[Value], copies: set[str], chosen: Mapping[int, str]
) -> list[Emitted]:
    wanted = {id(value) for value in outputs}
    kept = []
    for emitted in reversed(nodes):
        if any(id(v) in wanted or chosen.get(id(v)) in copies for v in emitted.outputs):
            kept.append(emitted)
            wanted.update(id(v) for v in emitted.inputs if v is not None)
    return kept[::-1]


def _free(hint: str, used: set[str], counts: dict[str, int]) -> str:
    name = hint
    while name in used:
        counts[hint] = counts.get(hint, -1) + 1
        name = f"{hint}.{counts[hint]}"
    used.add(name)
    return name


def _owned(array: Array) -> Array:
    """Contiguous, and no view of something larger."""
    if array.flags.c_contiguous and (array.base is None or getattr(array.base, "nbytes", array.nbytes) <= array.nbytes):
        return array
    return np.array(array, order="C")
