"""Run sequences of any lengths through a network, in batches, within a budget of memory.

Sequences are read window by window. Those of a window are sorted by length and cut into batches. The threads take the
batches one after another, the longest first; each thread runs its batch by itself. Several threads run a window while
the caller's thread reads the next one, or uses the results of the one before. Results come in the order of the
sequences.
"""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, Final

import numpy as np

from fastgru.budget import Budget
from fastgru.engine import Runnable
from fastgru.errors import FastGRUError, ShapeError
from fastgru.graph import Array, Graph, TensorSpec, inlined
from fastgru.kinds import is_table
from fastgru.records import dataclass
from fastgru.reference import bind_inputs
from fastgru.reference.facts import domains, infer_graph
from fastgru.streaming.batches import Network
from fastgru.streaming.crew import Crew, Job
from fastgru.streaming.cutting import cut
from fastgru.streaming.items import Call, Finish, Item
from fastgru.streaming.named import in_order
from fastgru.streaming.progress import Progress, Report, reporter
from fastgru.streaming.ragged import find_layout
from fastgru.streaming.scratch import Copies, Scratch

__all__ = ["PREDICT_BYTES", "Finish", "Predictor"]

PREDICT_BYTES: Final = 256 << 20
_NOTE: Final = "; predict takes no states, because each sequence begins with their start values"
_LEAST_BYTES: Final = 1 << 20


@dataclass
class _Window:
    """Sequences that were read one after another, and the exception that has ended the reading."""

    items: list[Item]
    failure: Exception | None = None


class _Reading:
    """The progress of reading sequences. room: bytes of a window. copies: one for each window that exists at a time."""

    def __init__(self, source: Iterator[Any], room: int, copies: Sequence[Copies | None]) -> None:
        self.source, self.room, self.copies = source, room, deque(copies)
        self.number, self.ended = 0, False


class Predictor:
    """The predictor of a graph. make: makes what runs a graph on one thread. threads: how many batches run at once.

    runnable: what `make` made for the batches, with an input for lengths if they are needed.

    Raises `UnsupportedModelError` if the axes of batch and time cannot be found, and `ShapeError` if there is no input
    for a sequence, or the sizes of a state do not follow from the frames.
    """

    def __init__(self, graph: Graph, make: Callable[[Graph], Runnable], threads: int) -> None:
        lengths, states = _lengths_of(graph), [spec for spec in graph.inputs if spec.name in graph.states]
        frames = [spec for spec in graph.inputs if spec.name not in (lengths, *graph.states)]
        if not frames:
            raise ShapeError("predict: the model has no input for a sequence")
        self.layout = find_layout(graph, frames, states, lengths)
        self._network = Network(
            make(self.layout.graph), self.layout, [s.name for s in frames], [s.name for s in states], threads
        )
        self.runnable = self._network.runnable
        self.threads, self._warned = threads, False
        self._times = [self._network.time(spec) for spec in self._network.frames]
        self._single = [self._without_batch(spec) for spec in self._network.frames]
        self._known: set[tuple[Any, ...]] = set()  # kinds of sequences that need no check

    def predict(
        self, sequences: Iterable[Any], max_rows: int, budget: int, progress: Progress, finish: Finish
    ) -> list[Any] | Iterator[Any]:
        """Return a list for a sequence or array of inputs, a generator for any other iterable. Raises `ShapeError`."""
        share = _checked_budget(max_rows, budget) // 4 // self.threads
        if isinstance(sequences, str | bytes | Mapping) or not isinstance(sequences, Iterable):
            raise ShapeError(f"predict: got {type(sequences).__name__}, expected a list or an iterable of arrays")
        if is_table(sequences):  # which is an iterable of the names of its columns
            raise ShapeError(
                f"predict: got {type(sequences).__name__}, expected a list or an iterable of arrays: give one array for"
                " each sequence, such as frame[columns].to_numpy()"
            )
        counted = isinstance(sequences, Sequence | np.ndarray)
        call = Call(max_rows, share, Budget(budget // 4), finish)
        report = reporter(progress, len(sequences) if isinstance(sequences, Sequence | np.ndarray) else None)
        ahead = 1 if self.threads == 1 else 2
        room = budget // 2 // ahead
        kept = [None if counted else Copies(room) for _ in range(ahead)]
        results = self._results(call, _Reading(iter(sequences), room, kept), report, ahead)
        return list(results) if counted else results

    def _results(self, call: Call, reading: _Reading, report: Report, ahead: int) -> Iterator[Any]:
        """Yield the results in order. The threads run a window while the next one is read."""
        done, windows = 0, deque[tuple[_Window, list[Job[list[Item]]]]]()
        with Crew(partial(self._network.run, call), [Scratch() for _ in range(self.threads)], call.stop) as crew:
            while windows or not reading.ended:
                if len(windows) < ahead and not reading.ended:
                    window = self._read_window(reading)
                    windows.append((window, crew.add(self._batches(call, window.items))))
                    continue
                window, jobs = windows.popleft()
                crew.finish(jobs, partial(_tell, report, done, jobs))
                done += len(window.items)
                for item in window.items:
                    if item.error is not None:
                        raise item.error
                    yield item.result
                    item.result = None  # free results that the caller has received
                if window.failure is not None:
                    raise window.failure
        report(done, 0, True)

    def _read_window(self, reading: _Reading) -> _Window:
        """Read as many sequences as there is room for."""
        window, taken = _Window([]), 0
        copies = reading.copies[0]
        reading.copies.rotate()
        if copies is not None:
            copies.forget()
        while taken < reading.room:
            number = reading.number + len(window.items)
            try:
                given = next(reading.source)
            except StopIteration:
                reading.ended = True
                break
            except Exception as error:
                error.add_note(f"predict: raised while sequence {number} was read (the first is 0)")
                window.failure, reading.ended = error, True
                break
            try:
                window.items.append(self._read(number, given, copies))
            except FastGRUError as error:
                window.failure, reading.ended = type(error)(f"sequence {number}: {error}"), True
                break
            taken += window.items[-1].nbytes
        reading.number += len(window.items)
        return window

    def _read(self, number: int, given: Any, copies: Copies | None) -> Item:
        """Return a sequence as an item. copies: where to copy arrays that the caller may overwrite before they run."""
        network, plain = self._network, None
        if type(given) is np.ndarray and len(network.frames) == 1:
            plain = [given] if _kind(given, self._times[0]) in self._known else None
        arrays = plain or self._bound(given)
        dtypes = [network.dtypes[spec.name] for spec in network.frames]
        steps = next((a.shape[t] for a, t in zip(arrays, self._times, strict=True) if t is not None), 0)
        if copies is None:
            arrays = [np.asarray(a, dtype, order="C") for a, dtype in zip(arrays, dtypes, strict=True)]
        else:
            arrays = [copies.copy(a, dtype) for a, dtype in zip(arrays, dtypes, strict=True)]
        return Item(number, arrays, steps, network.nbytes(arrays, steps))

    def _without_batch(self, spec: TensorSpec) -> TensorSpec:
        """Return the spec of a single sequence. Its axis of time is called T if the file has no name for it."""
        row, time = self._network.row(spec), self._network.time(spec)
        if spec.shape is None:
            return replace(spec, dims=())
        shape, names = list(spec.shape), list(spec.dims or (None,) * len(spec.shape))
        del shape[row], names[row]
        if time is not None and names[time] is None and all("T" not in each.dims for each in self._network.frames):
            names[time] = "T"
        return replace(spec, shape=tuple(shape), dims=tuple(names))

    def _bound(self, given: Any) -> list[Array]:
        """Return the arrays of a sequence, checked and without a batch axis. Raises `ShapeError`."""
        network = self._network
        names = [spec.name for spec in network.frames]
        arrays = given if isinstance(given, tuple) else in_order("sequence", names, (given,), note=_NOTE)
        if len(arrays) != len(network.frames):
            raise ShapeError(f"got {len(arrays)} arrays, expected {len(names)}: {', '.join(names)}{_NOTE}")
        try:
            bound = bind_inputs(self._single, dict(zip(names, arrays, strict=True)))
        except ShapeError as error:
            ranks = [None if spec.shape is None else len(spec.shape) + 1 for spec in self._single]
            batched = any(getattr(a, "ndim", None) == rank for a, rank in zip(arrays, ranks, strict=True))
            raise ShapeError(f"{error}, without a batch") if batched else error from None
        made = [bound[name] for name in names]
        steps = {array.shape[t] for array, t in zip(made, self._times, strict=True) if t is not None}
        if len(steps) > 1:
            raise ShapeError(f"the inputs have {sorted(steps)} steps, expected the same number")
        if len(made) == 1 and made[0].size and made[0].dtype == network.dtypes[network.frames[0].name]:
            self._known.add(_kind(made[0], self._times[0]))
        return made

    def _batches(self, call: Call, items: Sequence[Item]) -> list[list[Item]]:
        groups: dict[tuple[Any, ...], list[Item]] = {}
        for item in items:
            key = [_kind(array, time)[:2] for array, time in zip(item.arrays, self._times, strict=True)]
            groups.setdefault((*key, item.steps if self.layout.unequal or not item.steps else -1), []).append(item)
        if self.layout.unequal and len(groups) > 1 and not self._warned:
            self._warned = True
            warnings.warn(
                f"predict: only sequences of equal lengths share a batch, because {self.layout.unequal}",
                stacklevel=_level_of_caller(),
            )
        if self.layout.apart:
            found = [[item] for item in items]
        else:
            found = [batch for group in groups.values() for batch in cut(call, group, self.threads)]
        return sorted(found, key=lambda batch: -sum([item.steps for item in batch]))


def _level_of_caller() -> int:
    """Return the `stacklevel` with which a caller of this function blames the first code outside of this package.

    This code is further away for a list than for a generator.
    """
    package, level = __name__.partition(".")[0], 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        level += 1
        if frame.f_globals.get("__name__", "").partition(".")[0] != package:
            break
        frame = frame.f_back
    return level


def _kind(array: Array, time: int | None) -> tuple[Any, ...]:
    """Return the sizes of an array without its steps, its rank and its dtype."""
    shape = array.shape
    return shape if time is None else shape[:time] + shape[time + 1 :], array.ndim, array.dtype


def _tell(report: Report, before: int, jobs: Sequence[Job[list[Item]]]) -> None:
    report(before, sum([len(job.work) for job in jobs if job.done]))


def _lengths_of(graph: Graph) -> str:
    """Return the input that operators take for the lengths of the rows, "" if there is none."""
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
    """Return the budget. Raises `ShapeError` if `max_rows` or the budget is no integer or is too small."""
    for name, value, least in (("max_rows", max_rows, 1), ("budget", budget, _LEAST_BYTES)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ShapeError(f"predict: {name} is {value!r}, expected an integer of at least {least}")
    return int(budget)
