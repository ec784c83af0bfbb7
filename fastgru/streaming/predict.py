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
from functools import partial
from typing import Any, Final

import numpy as np

from fastgru.budget import Budget
from fastgru.engine import Runnable
from fastgru.errors import FastGRUError, ShapeError
from fastgru.graph import Array, Graph, inlined
from fastgru.reference import bind_inputs
from fastgru.reference.facts import domains, infer_graph
from fastgru.reference.operator import as_array
from fastgru.streaming.batches import Call, Finish, Item, Network, Scratch
from fastgru.streaming.named import in_order
from fastgru.streaming.progress import Progress, Report, reporter
from fastgru.streaming.ragged import find_layout

__all__ = ["PREDICT_BYTES", "Finish", "Predictor"]

PREDICT_BYTES: Final = 256 << 20
_LEAST_ROWS: Final = 32  # of a batch that is cut so that no thread is idle
_LEAST_BYTES: Final = 1 << 20


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
        self._network = Network(
            make(self.layout.graph), self.layout, [s.name for s in frames], [s.name for s in states], threads
        )
        self.threads, self._warned = threads, False

    def predict(
        self, sequences: Iterable[Any], max_rows: int, budget: int, progress: Progress, finish: Finish
    ) -> list[Any] | Iterator[Any]:
        """A list for what has a length, a generator for any other iterable. Raises `ShapeError`."""
        share = _checked_budget(max_rows, budget) // 4 // self.threads
        if isinstance(sequences, str | bytes | Mapping) or not isinstance(sequences, Iterable):
            raise ShapeError(f"predict: got {type(sequences).__name__}, expected a list or an iterable of arrays")
        counted = isinstance(sequences, Sequence | np.ndarray)
        call = Call(max_rows, share, Budget(budget // 4), finish, [{} for _ in range(self.threads)])
        report = reporter(progress, len(sequences) if isinstance(sequences, Sequence | np.ndarray) else None)
        results = self._results(call, iter(sequences), budget // 2, report, owned=not counted)
        return list(results) if counted else results

    def _results(self, call: Call, source: Iterator[Any], room: int, report: Report, *, owned: bool) -> Iterator[Any]:
        done, ended = 0, False
        while not ended:
            items, failure, taken = list[Item](), None, 0
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
                taken += self._network.nbytes(items[-1].arrays, items[-1].steps)
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

    def _read(self, number: int, given: Any, *, owned: bool) -> Item:
        """owned: copy what the caller may write into again before it has run."""
        names = [spec.name for spec in self._network.frames]
        arrays = given if isinstance(given, tuple) else in_order("sequence", names, (given,))
        if len(arrays) != len(self._network.frames):
            raise ShapeError(f"got {len(arrays)} arrays, expected {len(names)}: {', '.join(names)}")
        rows: dict[str, Array] = {}
        for spec, array in zip(self._network.frames, arrays, strict=True):
            plain = as_array(f"input {spec.name!r}", array)
            if spec.shape is not None and plain.ndim != len(spec.shape) - 1:
                shape = tuple(n for axis, n in enumerate(spec.shape) if axis != self._network.row(spec))
                raise ShapeError(f"input {spec.name!r}: got shape {plain.shape}, expected {shape}, without a batch")
            rows[spec.name] = np.expand_dims(plain, self._network.row(spec))
        bound = bind_inputs(self._network.frames, rows)
        steps = {bound[name].shape[axis] for name, axis in self.layout.steps.items() if name in bound}
        if len(steps) > 1:
            raise ShapeError(f"inputs of {sorted(steps)} steps, expected as many of each")
        convert = np.array if owned else np.asarray
        made = [
            convert(bound[spec.name].squeeze(self._network.row(spec)), self._network.dtypes[spec.name], order="C")
            for spec in self._network.frames
        ]
        return Item(number, made, steps.pop() if steps else 0)

    def _batches(self, call: Call, items: Sequence[Item]) -> list[list[Item]]:
        groups: dict[tuple[Any, ...], list[Item]] = {}
        for item in items:
            key = tuple(
                tuple(n for axis, n in enumerate(array.shape) if axis != self._network.time(spec))
                for array, spec in zip(item.arrays, self._network.frames, strict=True)
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
            most = max(_LEAST_ROWS, len(group) // (4 * self.threads))
            most = min(call.max_rows, 1 << most.bit_length() - 1)  # few numbers of rows, so that plans come again
            begin = 0
            while begin < len(group):
                each = call.factor * self._network.nbytes(group[begin].arrays, group[begin].steps)
                fits = int(call.share / max(1, each))
                rows = 1 if self.layout.apart else max(1, min(most, fits))
                found.append(group[begin : begin + rows])
                begin += rows
        return sorted(found, key=lambda batch: -sum(item.steps for item in batch))

    def _run_all(self, call: Call, batches: Sequence[list[Item]], report: Callable[[int], object]) -> None:
        """This thread works, too: it is the one that signals come to."""
        left, failed, ready = deque(batches), list[BaseException](), list[int]()

        def work(scratch: Scratch, tell: Callable[[int], object] | None = None) -> None:
            while left:
                try:
                    batch = left.popleft()
                except IndexError:
                    return
                self._network.run(call, batch, scratch)
                ready.append(len(batch))
                if tell is not None:
                    tell(sum(ready))

        def help_out(scratch: Scratch) -> None:
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
