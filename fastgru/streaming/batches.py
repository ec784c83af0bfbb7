"""Batches of sequences: pad, plan, run and cut them, within the memory that one thread may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Final

import numpy as np

from fastgru.budget import Budget
from fastgru.engine import Runnable
from fastgru.engine.program import Program
from fastgru.errors import FastGRUError, ShapeError
from fastgru.graph import Array, Graph, TensorSpec, inlined, shape_text
from fastgru.process import lock
from fastgru.reference.facts import infer_graph
from fastgru.reference.operator import numpy_dtype
from fastgru.streaming.cutting import rounded
from fastgru.streaming.items import Call, Item, Planned
from fastgru.streaming.ragged import RECURRENT, Layout
from fastgru.streaming.scratch import Scratch

__all__ = ["Network"]

_ITEM_BYTES: Final = 256  # the memory of a sequence besides its arrays
_PROGRAM_BYTES: Final = 4 << 20  # of all programs that are kept from one call to the next


class Network:
    """A network that runs batches. frames: the inputs that a sequence consists of. states: inputs that are states."""

    def __init__(
        self, runnable: Runnable, layout: Layout, frames: Sequence[str], states: Sequence[str], threads: int
    ) -> None:
        self.layout, self.threads, self.runnable = layout, threads, runnable
        typed = {spec.name: spec for spec in runnable.inputs}
        self.frames = [replace(typed[name], dims=()) for name in frames]
        self._states = [typed[name] for name in states]
        self.dtypes = {name: numpy_dtype(spec.dtype) for name, spec in typed.items()}
        self._unread = [name for name in frames if layout.lengths and _is_cut_short(runnable.graph, name)]
        self._known_bytes: dict[int, int] = {}
        self._programs: dict[tuple[tuple[int, ...], ...], Program] = {}  # without the memory in which programs run
        self._kept = Budget(_PROGRAM_BYTES)
        facts = infer_graph(runnable.graph)
        self._sizes = [
            (numpy_dtype(spec.dtype).itemsize, facts[spec.name].sizes or (), layout.steps.get(spec.name))
            for spec in runnable.outputs
        ]
        for spec in self._states:
            if spec.shape is None or [a for a, n in enumerate(spec.shape) if n is None] not in ([], [self.row(spec)]):
                raise ShapeError(
                    f"predict: the sizes of state {spec.name!r} {shape_text(spec.shape, spec.dims)} do not follow from"
                    " the frames"
                )

    def row(self, spec: TensorSpec) -> int:
        """Return the axis of the batch."""
        return self.layout.rows[spec.name]

    def time(self, spec: TensorSpec) -> int | None:
        """Return the axis of time in an array without a batch axis, None if there is none."""
        axis = self.layout.steps.get(spec.name)
        return None if axis is None else axis - (axis > self.row(spec))

    def nbytes(self, arrays: Sequence[Array], steps: int) -> int:
        """Return the bytes of a sequence and of its outputs. Sizes of outputs that are not known count as 1."""
        if (known := self._known_bytes.get(steps)) is None:
            known = self._known_bytes[steps] = sum(
                size * prod([steps if axis == time else n if isinstance(n, int) else 1 for axis, n in enumerate(sizes)])
                for size, sizes, time in self._sizes
            )
        return known + sum([array.nbytes for array in arrays]) + _ITEM_BYTES

    def run(self, call: Call, batch: list[Item], scratch: Scratch) -> None:
        """Run a batch, in halves if it takes too much memory, and store the result of each sequence.

        A batch that fails runs again row by row, so that the error names the sequence at fault.
        """
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
        rows = [self._by_row(name, output) for name, output in outputs.items()]
        for item, *arrays in zip(batch, *[by_row for by_row, _ in rows], strict=True):
            item.arrays = []
            item.result = call.finish(
                tuple([
                    array.copy() if time is None else array[(*[slice(None)] * time, slice(item.steps))].copy()
                    for array, (_, time) in zip(arrays, rows, strict=True)
                ])
            )  # fmt: skip

    def _by_row(self, name: str, output: Array) -> tuple[Array, int | None]:
        """Return the output with the batch axis in front, and the axis on which to cut a row to its steps, or None."""
        row, time = self.layout.rows[name], self.layout.steps.get(name) if self.layout.lengths else None
        return np.moveaxis(output, row, 0), None if time is None else time - (row < time)

    def _outputs(self, call: Call, batch: Sequence[Item], scratch: Scratch) -> dict[str, Array] | None:
        """Return the outputs, or None if the batch takes more than the share. Raises `ShapeError` if one row does."""
        shapes = self._shapes(batch)
        with lock:
            route, taken = self._route(call, shapes)
        if taken > call.share:
            call.factor = max(call.factor, taken / max(1, len(batch) * batch[0].nbytes))
            if len(batch) > 1:
                return None
            need = 4 * self.threads * taken
            raise ShapeError(f"its {batch[0].steps} steps take {taken:,} bytes to run: give budget={need} or more")
        feeds = self._feeds(batch, shapes, scratch)
        if route is None:
            return self.runnable.run(feeds)
        results = {name: scratch.take(f"{name} (output)", shape, dtype) for name, shape, dtype in route.outputs}
        if not route.call(*route.plain([feeds[name] for name in route.inputs], list(results.values()))):
            raise ShapeError("an array changed its shape or dtype during the call")
        return results

    def _route(self, call: Call, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Planned | None, int]:
        """Return the route for these shapes and the bytes that it takes.

        The route is None if no single program runs them, or if it takes more than the share. The bytes are 0 if they
        are unknown or were checked before.
        """
        key = tuple(shapes.values())
        if key in call.routes:
            call.plans.touch(key)
            return call.routes[key], 0
        program = self._programs.get(key) or self.runnable.planned(shapes)
        if program is None:
            return call.routes.setdefault(key, None), 0
        if key not in self._programs:
            self._programs[key] = program
            self._kept.add(key, program.nbytes, partial(self._programs.pop, key, None))
        self._kept.touch(key)
        slots = [*program.inputs.values(), *program.outputs.values()]
        taken = program.arena_bytes + sum(prod(slot.shape) * numpy_dtype(slot.dtype).itemsize for slot in slots)
        if taken > call.share:
            return None, taken
        route = call.routes[key] = Planned(program)
        call.plans.add(key, program.nbytes + self.threads * program.arena_bytes, partial(call.routes.pop, key, None))
        return route, taken

    def _shapes(self, batch: Sequence[Item]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the inputs, in order. Rows have the longest sequence's steps, rounded up if allowed."""
        rows, longest = len(batch), max(item.steps for item in batch)
        if self.layout.lengths and self.layout.steps and not self.layout.unequal and rows > 1:
            longest = rounded(longest)
        shapes: dict[str, tuple[int, ...]] = {self.layout.lengths: (rows,)}
        for array, spec in zip(batch[0].arrays, self.frames, strict=True):
            time, shape = self.time(spec), list(array.shape)
            if time is not None:
                shape[time] = longest
            shape.insert(self.row(spec), rows)
            shapes[spec.name] = tuple(shape)
        for spec in self._states:
            shapes[spec.name] = tuple([n if n is not None else rows for n in spec.shape or ()])
        return {spec.name: shapes[spec.name] for spec in self.runnable.inputs}

    def _feeds(
        self, batch: Sequence[Item], shapes: Mapping[str, tuple[int, ...]], scratch: Scratch
    ) -> dict[str, Array]:
        """Return the inputs with the rows side by side. If padding is read, it repeats the last frame of the row."""
        feeds = {name: scratch.take(name, shape, self.dtypes[name]) for name, shape in shapes.items()}
        for i, spec in enumerate(self.frames):
            time, by_row = self.time(spec), np.moveaxis(feeds[spec.name], self.row(spec), 0)
            head = (slice(None),) * (time or 0)
            for row, item in zip(by_row, batch, strict=True):
                array = item.arrays[i]
                if time is None or item.steps in (0, row.shape[time]):
                    row[...] = array
                    continue
                row[(*head, slice(item.steps))] = array
                if spec.name not in self._unread:
                    row[(*head, slice(item.steps, None))] = array[(*head, slice(item.steps - 1, None))]
        for spec in self._states:
            feeds[spec.name][...] = self.runnable.graph.start(spec.name, shapes[spec.name], self.dtypes[spec.name])
        if self.layout.lengths:
            feeds[self.layout.lengths][...] = [item.steps for item in batch]
        return feeds


def _is_cut_short(graph: Graph, name: str) -> bool:
    """Return whether nothing reads an input beyond the lengths: only recurrent layers read it, as their frames."""
    readers = [(node, i) for node in inlined(graph.nodes) for i, each in enumerate(node.inputs) if each == name]
    return all(node.op in RECURRENT and i == 0 and node.inputs[2] for node, i in readers) and name not in {
        spec.name for spec in graph.outputs
    }
