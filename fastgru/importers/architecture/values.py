"""The graph while it grows, and the shapes of its values.

A value is a `TensorSpec` whose shape is always known and whose `dims` has one entry an axis: the name of a free
dimension, or None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Node, TensorSpec

__all__ = ["Builder", "Shape", "merged", "shape_of", "shown"]

Shape = tuple[int | None, ...]


def shape_of(value: TensorSpec) -> Shape:
    """The sizes of a value; None for one that is free."""
    assert value.shape is not None
    return value.shape


def shown(value: TensorSpec) -> str:
    """The shape as messages show it: free dimensions by their names."""
    sizes = [n or "?" if s is None else str(s) for s, n in zip(shape_of(value), value.dims, strict=True)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def merged(a: TensorSpec, b: TensorSpec) -> TensorSpec | None:
    """A value of the shape to which a and b broadcast, or None where they do not."""
    rank = max(len(shape_of(a)), len(shape_of(b)))
    sides = [[(1, None)] * (rank - len(shape_of(v))) + [*zip(shape_of(v), v.dims, strict=True)] for v in (a, b)]
    sizes: list[tuple[int | None, str | None]] = []
    for (m, p), (n, q) in zip(*sides, strict=True):
        if m == 1 or n == 1:
            sizes.append((n, q) if m == 1 else (m, p))
        elif m is not None and n is not None and m != n:
            return None
        else:
            size = n if m is None else m
            sizes.append((size, None if size is not None else p if p == q else None))
    return replace(a, shape=tuple(s for s, _ in sizes), dims=tuple(d for _, d in sizes))


class Builder:
    """Collects nodes and constants under names that are never given twice."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._taken = set(reserved)

    def fresh(self, base: str) -> str:
        """`base`, or the first of base_1, base_2... that is free."""
        name, n = base, 0
        while name in self._taken:
            n += 1
            name = f"{base}_{n}"
        self._taken.add(name)
        return name

    def is_taken(self, name: str) -> bool:
        """Whether a constant or the output of a node has this name."""
        return name in self.constants or any(name in node.outputs for node in self.nodes)

    def constant(self, base: str, array: NDArray[Any]) -> str:
        """The name of a constant; equal arrays under one base (tied weights) are one constant."""
        seen = self.constants.get(base)
        if seen is not None and seen.dtype == array.dtype and np.array_equal(seen, array):
            return base
        name = self.fresh(base)
        self.constants[name] = array
        return name

    def add(
        self,
        op: str,
        inputs: Sequence[TensorSpec | str | None],
        outputs: Sequence[TensorSpec],
        attrs: Mapping[str, Any],
        label: str,
    ) -> tuple[TensorSpec, ...]:
        """Append a node; `outputs` say name, dtype, shape and dims. Returns them under names of their own."""
        made = tuple(replace(spec, name=self.fresh(spec.name)) for spec in outputs)
        names = tuple("" if i is None else i if isinstance(i, str) else i.name for i in inputs)
        self.nodes.append(Node(op, names, tuple(spec.name for spec in made), dict(attrs), label))
        return made
