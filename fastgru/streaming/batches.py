"""Batches of sequences: padded, planned, run and cut, within the memory that one thread may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from fastgru.budget import Budget
from fastgru.engine import Runnable
from fastgru.engine.route import Route
from fastgru.errors import FastGRUError, ShapeError
from fastgru.graph import Array, TensorSpec
from fastgru.packing.aligned import empty
from fastgru.process import lock
from fastgru.records import dataclass
from fastgru.reference.facts import infer_graph
from fastgru.reference.operator import numpy_dtype
from fastgru.streaming.ragged import Layout

__all__ = ["Call", "Finish", "Item", "Network", "Scratch"]

Finish = Callable[[tuple[Array, ...]], Any]  # what becomes of the outputs of one sequence
Scratch = dict[str, Array]  # memory of one thread, which its batches have one after another, by input or output


@dataclass
class Item:
    """A sequence: its number, its arrays without an axis for the batch, its steps, and what has come of it."""

    number: int
    arrays: list[Array]
    steps: int
    result: Any = None
    error: FastGRUError | None = None


@dataclass
class Call:
    """What one call of `predict` has: plans of its own, and what it may take."""

    max_rows: int
    share: int  # bytes that one thread may take at a time
    plans: Budget
    finish: Finish
    scratch: list[Scratch]  # one for each thread
    factor: float = 1.0  # what running takes of what goes in and comes out, as far as it is known
    routes: dict[tuple[tuple[int, ...], ...], Route | None] = field(default_factory=dict)


class Network:
    """What runs batches. frames, states: the inputs that a sequence consists of, and those that begin with zeros."""

    def __init__(
        self, runnable: Runnable, layout: Layout, frames: Sequence[str], states: Sequence[str], threads: int
    ) -> None:
        self.layout, self.threads, self._runnable = layout, threads, runnable
        typed = {spec.name: spec for spec in runnable.inputs}
        self.frames = [replace(typed[name], dims=()) for name in frames]
        self._states = [typed[name] for name in states]
        self.dtypes = {name: numpy_dtype(spec.dtype) for name, spec in typed.items()}
        facts = infer_graph(runnable.graph)
        self._sizes = [
            (numpy_dtype(spec.dtype).itemsize, facts[spec.name].sizes or (), layout.steps.get(spec.name))
            for spec in runnable.outputs
        ]
        for spec in self._states:
            if spec.shape is None or [a for a, n in enumerate(spec.shape) if n is None] not in ([], [self.row(spec)]):
                raise ShapeError(f"predict: the sizes of state {spec.name!r} {spec.shape} cannot be told from frames")

    def row(self, spec: TensorSpec) -> int:
        """The axis of the batch."""
        return self.layout.rows[spec.name]

    def time(self, spec: TensorSpec) -> int | None:
        """The axis of time in an array without a batch."""
        axis = self.layout.steps.get(spec.name)
        return None if axis is None else axis - (axis > self.row(spec))

    def nbytes(self, arrays: Sequence[Array], steps: int) -> int:
        """Of a sequence and of what it gives, where sizes are not known by as much as it takes itself."""
        known = sum(
            size * prod([steps if axis == time else n if isinstance(n, int) else 1 for axis, n in enumerate(sizes)])
            for size, sizes, time in self._sizes
        )
        return known + sum(array.nbytes for array in arrays) + 256

    def run(self, call: Call, batch: list[Item], scratch: Scratch) -> None:
        """A batch that fails runs row by row, so that the sequence is named whose fault it is."""
        try:
            outputs = self._outputs(call, batch, scratch)
        except FastGRUError as error:
            if len(batch) > 1:
                for item in batch:
                    self.run(call, [item], scratch)
            else:
                batch[0].error = type(error)(f"sequence {batch[0].number}: {error}")
            return
        if outputs is None:
            half = len(batch) // 2
            self.run(call, batch[:half], scratch)
            self.run(call, batch[half:], scratch)
            return
        for row, item in enumerate(batch):
            item.arrays = []
            item.result = call.finish(tuple([self._cut(name, a, row, item.steps) for name, a in outputs.items()]))

    def _cut(self, name: str, output: Array, row: int, steps: int) -> Array:
        index: list[Any] = [slice(None)] * output.ndim
        index[self.layout.rows[name]] = row
        if name in self.layout.steps and self.layout.lengths:
            index[self.layout.steps[name]] = slice(steps)
        return np.array(output[tuple(index)])

    def _outputs(self, call: Call, batch: Sequence[Item], scratch: Scratch) -> dict[str, Array] | None:
        """None where so many rows take more than the share. Raises `ShapeError` where one does."""
        feeds = self._feeds(batch, scratch)
        shapes = {name: array.shape for name, array in feeds.items()}
        with lock:
            route, taken = self._route(call, shapes)
        if taken > call.share:
            call.factor = max(call.factor, taken / max(1, len(batch) * self.nbytes(batch[0].arrays, batch[0].steps)))
            if len(batch) > 1:
                return None
            need = 4 * self.threads * taken
            raise ShapeError(f"its {batch[0].steps} steps take {taken:,} bytes to run: give budget={need} or more")
        if route is None:
            return self._runnable.run(feeds)
        results = {name: _taken(scratch, f"{name} (output)", shape, dtype) for name, shape, dtype in route.outputs}
        if not route.call(*route.plain([feeds[name] for name in route.inputs], list(results.values()))):
            raise ShapeError("an array changed its shape or dtype during the call")
        return results

    def _route(self, call: Call, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Route | None, int]:
        """What runs these shapes, None where that is no single program, and the bytes that it takes, where known."""
        key = tuple(shapes.values())
        if key in call.routes:
            call.plans.touch(key)
            return call.routes[key], 0
        program = self._runnable.planned(shapes)
        if program is None:
            return call.routes.setdefault(key, None), 0
        slots = [*program.inputs.values(), *program.outputs.values()]
        taken = program.arena_bytes + sum(prod(slot.shape) * numpy_dtype(slot.dtype).itemsize for slot in slots)
        if taken > call.share:
            return None, taken
        route = call.routes[key] = Route(program)
        call.plans.add(key, program.nbytes + self.threads * program.arena_bytes, partial(call.routes.pop, key, None))
        return route, taken

    def _feeds(self, batch: Sequence[Item], scratch: Scratch) -> dict[str, Array]:
        """The rows side by side, each with its last frame repeated up to the length of the longest, and a little more,
        so that few lengths have plans of their own."""
        rows, longest = len(batch), max(item.steps for item in batch)
        if self.layout.lengths and self.layout.steps and not self.layout.unequal and rows > 1:
            grain = 1 << max(0, longest.bit_length() - 5)
            longest = -(-longest // grain) * grain
        feeds: dict[str, Array] = {}
        for i, spec in enumerate(self.frames):
            axis, time = self.row(spec), self.time(spec)
            shape = list(batch[0].arrays[i].shape)
            if time is not None:
                shape[time] = longest
            shape.insert(axis, rows)
            joined = _taken(scratch, spec.name, shape, self.dtypes[spec.name])
            by_row = np.moveaxis(joined, axis, 0)
            for row, item in zip(by_row, batch, strict=True):
                array = item.arrays[i]
                if time is None or item.steps in (0, longest):
                    row[...] = array
                    continue
                head = (slice(None),) * time
                row[(*head, slice(item.steps))] = array
                row[(*head, slice(item.steps, None))] = array[(*head, slice(item.steps - 1, None))]
            feeds[spec.name] = joined
        for spec in self._states:
            shape = [n if n is not None else rows for n in spec.shape or ()]
            feeds[spec.name] = self._runnable.graph.start(spec.name, shape, self.dtypes[spec.name])
        if self.layout.lengths:
            feeds[self.layout.lengths] = np.array([i.steps for i in batch], self.dtypes[self.layout.lengths])
        return {spec.name: feeds[spec.name] for spec in self._runnable.inputs}


def _taken(scratch: Scratch, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """An array in the memory of this name, which grows where it has to."""
    nbytes = prod(shape) * dtype.itemsize
    if name not in scratch or scratch[name].nbytes < nbytes:
        scratch[name] = empty(nbytes, np.uint8)
    return scratch[name][:nbytes].view(dtype).reshape(shape)
