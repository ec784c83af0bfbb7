"""Sequences of any lengths through a network: side by side in batches, in order, within a budget of memory.

Sequences are read ahead for as much as half of the budget allows. Those that were read are sorted by their lengths and
cut into batches, the longest first, which the threads take one after another; each thread runs its batch by itself.
What they give is handed out in the order of the sequences before more are read.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from fastgru.budget import Budget
from fastgru.engine import Runnable
from fastgru.engine.route import Route
from fastgru.errors import FastGRUError, ShapeError
from fastgru.graph import Array, Graph, TensorSpec, inlined
from fastgru.packing.aligned import empty
from fastgru.process import lock
from fastgru.records import dataclass
from fastgru.reference import bind_inputs
from fastgru.reference.facts import domains, infer_graph
from fastgru.reference.operator import as_array, numpy_dtype
from fastgru.streaming.progress import Progress, Report, reporter
from fastgru.streaming.ragged import find_layout

__all__ = ["PREDICT_BYTES", "Finish", "Predictor"]

PREDICT_BYTES: Final = 256 << 20
_LEAST_ROWS: Final = 32  # of a batch that is cut so that no thread is idle
_LEAST_BYTES: Final = 1 << 20

Finish = Callable[[tuple[Array, ...]], Any]  # what becomes of the outputs of one sequence
_Scratch = dict[str, Array]  # memory of one thread, which its batches have one after another, by input or output


@dataclass
class _Item:
    """A sequence: its number, its arrays without an axis for the batch, its steps, and what has come of it."""

    number: int
    arrays: list[Array]
    steps: int
    result: Any = None
    error: FastGRUError | None = None


@dataclass
class _Call:
    """What one call of `predict` has: plans of its own, and what it may take."""

    max_rows: int
    share: int  # bytes that one thread may take at a time
    plans: Budget
    finish: Finish
    scratch: list[_Scratch]  # one for each thread
    factor: float = 1.0  # what running takes of what goes in and comes out, as far as it is known
    routes: dict[tuple[tuple[int, ...], ...], Route | None] = field(default_factory=dict)


class Predictor:
    """Of a graph. make: what runs a graph on one thread. threads: how many batches run at once.

    Raises `UnsupportedModelError` where the axes of batch and time cannot be told, or a state has free sizes.
    """

    def __init__(self, graph: Graph, make: Callable[[Graph], Runnable], threads: int) -> None:
        lengths, states = _lengths_of(graph), [spec for spec in graph.inputs if spec.name in graph.states]
        frames = [spec for spec in graph.inputs if spec.name not in (lengths, *graph.states)]
        if not frames:
            raise ShapeError("predict: the model has no input for a sequence")
        self.layout = find_layout(graph, frames, states, lengths)
        self.threads, self._warned = threads, False
        self._runnable = make(self.layout.graph)
        typed = {spec.name: spec for spec in self._runnable.inputs}
        self._frames = [replace(typed[spec.name], dims=()) for spec in frames]
        self._states = [typed[spec.name] for spec in states]
        self._dtypes = {name: numpy_dtype(spec.dtype) for name, spec in typed.items()}
        facts = infer_graph(self._runnable.graph)
        self._sizes = [
            (numpy_dtype(spec.dtype).itemsize, facts[spec.name].sizes or (), self.layout.steps.get(spec.name))
            for spec in self._runnable.outputs
        ]
        for spec in self._states:
            if spec.shape is None or [a for a, n in enumerate(spec.shape) if n is None] not in ([], [self._row(spec)]):
                raise ShapeError(f"predict: the sizes of state {spec.name!r} {spec.shape} cannot be told from frames")

    def _row(self, spec: TensorSpec) -> int:
        return self.layout.rows[spec.name]

    def predict(
        self, sequences: Iterable[Any], max_rows: int, budget: int, progress: Progress, finish: Finish
    ) -> list[Any] | Iterator[Any]:
        """A list for what has a length, a generator for any other iterable. Raises `ShapeError`."""
        share = _checked_budget(max_rows, budget) // 4 // self.threads
        if isinstance(sequences, str | bytes | Mapping) or not isinstance(sequences, Iterable):
            raise ShapeError(f"predict: got {type(sequences).__name__}, expected a list or an iterable of arrays")
        counted = isinstance(sequences, Sequence | np.ndarray)
        call = _Call(max_rows, share, Budget(budget // 4), finish, [{} for _ in range(self.threads)])
        report = reporter(progress, len(sequences) if isinstance(sequences, Sequence | np.ndarray) else None)
        results = self._results(call, iter(sequences), budget // 2, report, owned=not counted)
        return list(results) if counted else results

    def _results(self, call: _Call, source: Iterator[Any], room: int, report: Report, *, owned: bool) -> Iterator[Any]:
        done, ended = 0, False
        while not ended:
            items, failure, taken = list[_Item](), None, 0
            while taken < room:
                try:
                    given = next(source)
                except StopIteration:
                    ended = True
                    break
                except Exception as error:
                    error.add_note(f"predict: raised in the place of sequence {done + len(items)} (the first is 0)")
                    failure = error
                    break
                try:
                    items.append(self._read(done + len(items), given, owned=owned))
                except FastGRUError as error:
                    failure = type(error)(f"sequence {done + len(items)}: {error}")
                    break
                taken += self._bytes(items[-1].arrays, items[-1].steps)
            self._run_all(call, self._batches(call, items), partial(report, done))
            done += len(items)
            for item in items:
                if item.error is not None:
                    raise item.error
                yield item.result
                item.result = None  # what was handed out can go
            if failure is not None:
                raise failure
        report(done, 0, True)

    def _read(self, number: int, given: Any, *, owned: bool) -> _Item:
        """owned: copy what the caller may write into again before it has run."""
        arrays = given if isinstance(given, tuple) else (given,)
        if len(arrays) != len(self._frames):
            names = ", ".join(spec.name for spec in self._frames)
            raise ShapeError(f"got {len(arrays)} arrays, expected {len(self._frames)}: {names}")
        rows: dict[str, Array] = {}
        for spec, array in zip(self._frames, arrays, strict=True):
            plain = as_array(f"input {spec.name!r}", array)
            if spec.shape is not None and plain.ndim != len(spec.shape) - 1:
                shape = tuple(n for axis, n in enumerate(spec.shape) if axis != self._row(spec))
                raise ShapeError(f"input {spec.name!r}: got shape {plain.shape}, expected {shape}, without a batch")
            rows[spec.name] = np.expand_dims(plain, self._row(spec))
        bound = bind_inputs(self._frames, rows)
        steps = {bound[name].shape[axis] for name, axis in self.layout.steps.items() if name in bound}
        if len(steps) > 1:
            raise ShapeError(f"inputs of {sorted(steps)} steps, expected as many of each")
        convert = np.array if owned else np.asarray
        made = [
            convert(bound[spec.name].squeeze(self._row(spec)), self._dtypes[spec.name], order="C")
            for spec in self._frames
        ]
        return _Item(number, made, steps.pop() if steps else 0)

    def _bytes(self, arrays: Sequence[Array], steps: int) -> int:
        """Of a sequence and of what it gives, where sizes are not known by as much as it takes itself."""
        known = sum(
            size * prod([steps if axis == time else n if isinstance(n, int) else 1 for axis, n in enumerate(sizes)])
            for size, sizes, time in self._sizes
        )
        return known + sum(array.nbytes for array in arrays) + 256

    def _batches(self, call: _Call, items: Sequence[_Item]) -> list[list[_Item]]:
        groups: dict[tuple[Any, ...], list[_Item]] = {}
        for item in items:
            key = tuple(
                tuple(n for axis, n in enumerate(array.shape) if axis != self._time(spec))
                for array, spec in zip(item.arrays, self._frames, strict=True)
            )
            groups.setdefault((*key, item.steps if self.layout.unequal or not item.steps else -1), []).append(item)
        if self.layout.unequal and len(groups) > 1 and not self._warned:
            self._warned = True
            warnings.warn(
                f"predict: only sequences of equal lengths share a batch, for {self.layout.unequal}", stacklevel=4
            )
        found = []
        for group in groups.values():
            group.sort(key=lambda item: -item.steps)
            most = min(call.max_rows, max(_LEAST_ROWS, -(-len(group) // (4 * self.threads))))
            begin = 0
            while begin < len(group):
                each = call.factor * self._bytes(group[begin].arrays, group[begin].steps)
                fits = int(call.share / max(1, each))
                rows = 1 if self.layout.apart else max(1, min(most, fits))
                found.append(group[begin : begin + rows])
                begin += rows
        return sorted(found, key=lambda batch: -sum(item.steps for item in batch))

    def _time(self, spec: TensorSpec) -> int | None:
        """The axis of time in an array without a batch."""
        axis = self.layout.steps.get(spec.name)
        return None if axis is None else axis - (axis > self._row(spec))

    def _run_all(self, call: _Call, batches: Sequence[list[_Item]], report: Callable[[int], object]) -> None:
        """This thread works, too: it is the one that signals come to."""
        left, failed, ready = deque(batches), list[BaseException](), list[int]()

        def work(scratch: _Scratch, tell: Callable[[int], object] | None = None) -> None:
            while left:
                try:
                    batch = left.popleft()
                except IndexError:
                    return
                self._run(call, batch, scratch)
                ready.append(len(batch))
                if tell is not None:
                    tell(sum(ready))

        def help_out(scratch: _Scratch) -> None:
            try:
                work(scratch)
            except BaseException as error:
                failed.append(error)
                left.clear()

        own, *others = call.scratch[: max(1, len(batches))]
        helpers = [
            threading.Thread(target=help_out, args=(each,), daemon=True, name="fastgru-predict") for each in others
        ]
        try:
            for helper in helpers:
                helper.start()
            work(own, report)
        finally:
            left.clear()
            for helper in helpers:
                if helper.ident is not None:
                    helper.join()
        if failed:
            raise failed[0]

    def _run(self, call: _Call, batch: list[_Item], scratch: _Scratch) -> None:
        """A batch that fails runs row by row, so that the sequence is named whose fault it is."""
        try:
            outputs = self._outputs(call, batch, scratch)
        except FastGRUError as error:
            if len(batch) > 1:
                for item in batch:
                    self._run(call, [item], scratch)
            else:
                batch[0].error = type(error)(f"sequence {batch[0].number}: {error}")
            return
        if outputs is None:
            half = len(batch) // 2
            self._run(call, batch[:half], scratch)
            self._run(call, batch[half:], scratch)
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

    def _outputs(self, call: _Call, batch: Sequence[_Item], scratch: _Scratch) -> dict[str, Array] | None:
        """None where so many rows take more than the share. Raises `ShapeError` where one does."""
        feeds = self._feeds(batch, scratch)
        shapes = {name: array.shape for name, array in feeds.items()}
        with lock:
            route, taken = self._route(call, shapes)
        if taken > call.share:
            call.factor = max(call.factor, taken / max(1, len(batch) * self._bytes(batch[0].arrays, batch[0].steps)))
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

    def _route(self, call: _Call, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Route | None, int]:
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

    def _feeds(self, batch: Sequence[_Item], scratch: _Scratch) -> dict[str, Array]:
        """The rows side by side, each with its last frame repeated up to the length of the longest, and a little more,
        so that few lengths have plans of their own."""
        rows, longest = len(batch), max(item.steps for item in batch)
        if self.layout.lengths and self.layout.steps and not self.layout.unequal and rows > 1:
            grain = 1 << max(0, longest.bit_length() - 5)
            longest = -(-longest // grain) * grain
        feeds: dict[str, Array] = {}
        for i, spec in enumerate(self._frames):
            axis, time = self._row(spec), self._time(spec)
            shape = list(batch[0].arrays[i].shape)
            if time is not None:
                shape[time] = longest
            shape.insert(axis, rows)
            joined = _taken(scratch, spec.name, shape, self._dtypes[spec.name])
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
            feeds[spec.name] = np.zeros(shape, self._dtypes[spec.name])
        if self.layout.lengths:
            feeds[self.layout.lengths] = np.array([i.steps for i in batch], self._dtypes[self.layout.lengths])
        return {spec.name: feeds[spec.name] for spec in self._runnable.inputs}


def _taken(scratch: _Scratch, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """An array in the memory of this name, which grows where it has to."""
    nbytes = prod(shape) * dtype.itemsize
    if name not in scratch or scratch[name].nbytes < nbytes:
        scratch[name] = empty(nbytes, np.uint8)
    return scratch[name][:nbytes].view(dtype).reshape(shape)


def _lengths_of(graph: Graph) -> str:
    """The input that is the lengths of the rows, "" where there is none: by what operators take it for."""
    names, copies = {spec.name for spec in graph.inputs}, dict[str, str]()
    facts = infer_graph(graph)
    for node in inlined(graph.nodes):
        if node.op in ("cast", "reshape", "squeeze", "unsqueeze") and node.inputs[0] in (*names, *copies):
            copies[node.outputs[0]] = copies.get(node.inputs[0], node.inputs[0])
        inputs = [facts.get(name) if name else None for name in node.inputs]
        for i, (kind, _) in domains(node.op, inputs, node.attrs).items():
            name = copies.get(node.inputs[i], node.inputs[i]) if node.inputs[i] else ""
            if kind == "lengths" and name in names:
                return name
    return ""


def _checked_budget(max_rows: int, budget: int) -> int:
    """The budget. Raises `ShapeError` for numbers that they cannot be."""
    for name, value, least in (("max_rows", max_rows, 1), ("budget", budget, _LEAST_BYTES)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ShapeError(f"predict: {name} is {value!r}, expected an integer of at least {least}")
    return int(budget)
