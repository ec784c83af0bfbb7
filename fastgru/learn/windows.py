"""The data of a fit: sets of rows, time first, and the windows of their steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import ShapeError
from fastgru.graph import Graph, shape_text
from fastgru.learn.losses import check_finite
from fastgru.learn.network import as_floats
from fastgru.records import dataclass
from fastgru.reference.operator import is_floating

__all__ = ["Window", "windows_of"]


@dataclass(frozen=True)
class Window:
    """Steps of a set of rows: x (T, N, ...), targets (T, N, ...).

    mask: (T, N) bool, the steps that count, None for all. reset: (T, N) bool, steps before which the states become
    zero, None for none.
    """

    x: Array
    targets: Array
    mask: Array | None = None
    reset: Array | None = None

    def cut(self, first: int, last: int) -> "Window":
        """Return the steps `first` to `last` - 1. A window of all steps may also have targets without steps."""
        if first == 0 and last >= len(self.x):
            return self
        arrays = (self.x, self.targets, self.mask, self.reset)
        return Window(*(None if a is None else a[first:last] for a in arrays))  # type: ignore[arg-type]


def windows_of(
    graph: Graph, data: Sequence[Any], resets: Any, dtype: str, *, batch_first: bool, timed: bool
) -> list[Window]:
    """Return the sets of rows, time first. timed: whether targets have steps. Raises `ShapeError`."""
    if not data or (resets is not None and len(resets) != len(data)):
        if not data:
            raise ShapeError("data: got an empty list, expected at least one (x, targets)")
        raise ShapeError(f"reset: got {len(resets)} arrays, expected {len(data)}, as many as data has entries")
    found = []
    for k, each in enumerate(data):
        name = "data" if len(data) == 1 else f"data[{k}]"
        if not isinstance(each, tuple) or len(each) not in (2, 3):
            raise ShapeError(f"{name}: got {type(each).__name__}, expected (x, targets) or (x, targets, mask)")
        x, targets = as_floats(f"{name}: x", each[0], dtype), as_floats(f"{name}: targets", each[1], dtype)
        check_finite(f"{name}: x", x)
        if x.ndim < 2 or 0 in x.shape:
            raise ShapeError(f"{name}: x has shape {x.shape}, expected a batch of sequences, at least one step and row")
        _check_input(f"{name}: x", x, graph)
        bools = [
            None if a is None else np.asarray(a)
            for a in (each[2] if len(each) > 2 else None, resets[k] if resets else None)
        ]
        for what, a in zip(("mask", "reset"), bools, strict=True):
            if a is not None and (a.dtype != np.bool_ or a.shape != x.shape[:2]):
                raise ShapeError(f"{name}: {what} is {a.dtype} {a.shape}, expected bool {x.shape[:2]}")
        if bools[0] is not None and not bools[0].any():
            raise ShapeError(f"{name}: mask is False everywhere, expected at least one step that counts")
        arrays = [x, targets, *bools]
        if timed and targets.shape[:2] != x.shape[:2]:
            raise ShapeError(
                f"{name}: targets: got shape {targets.shape}, expected {x.shape[:2]} on the first two axes"
            )
        if not timed and arrays[2] is not None:
            raise ShapeError(
                f"{name}: got a mask, but the output has one place for each row; leave out rows that should not count"
            )
        if batch_first:
            have_steps = (True, timed, True, True)
            arrays = [
                a if a is None or not has else a.swapaxes(0, 1) for a, has in zip(arrays, have_steps, strict=True)
            ]
        found.append(Window(*arrays))  # type: ignore[arg-type]
    return found


def _check_input(name: str, x: Array, graph: Graph) -> None:
    """Check the sizes of x after its steps and rows, and its ids, because kernels do not. Raises `ShapeError`."""
    spec = next(each for each in graph.inputs if each.name not in graph.states)
    sizes = spec.shape or ()
    if sizes and (x.ndim != len(sizes) or any(n not in (None, m) for n, m in zip(sizes[2:], x.shape[2:], strict=True))):
        raise ShapeError(f"{name}: got {x.dtype} {x.shape}, expected {spec.dtype} {shape_text(spec.shape, spec.dims)}")
    if not is_floating(np.dtype(spec.dtype)):
        if x.dtype.kind not in "iu":
            raise ShapeError(f"{name}: got {x.dtype}, expected integers such as {spec.dtype}")
        for node in graph.nodes:
            if node.op == "embedding" and node.inputs[0] == spec.name and node.inputs[1] in graph.constants:
                entries = len(graph.constants[node.inputs[1]])
                if bad := [int(i) for i in (x.min(), x.max()) if not 0 <= i < entries]:
                    raise ShapeError(f"{name}: id {bad[0]} is out of range, expected ids from 0 to {entries - 1}")
