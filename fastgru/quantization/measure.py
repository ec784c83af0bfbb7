"""Runs a graph twice, in float32 and with low-precision weights, and measures the differences."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.engine import Executable
from fastgru.engine.memory import Packs
from fastgru.graph import Array, Graph, TensorSpec, every_node
from fastgru.quantization.report import Errors, Timing
from fastgru.reference.facts import infer_graph
from fastgru.verify.cases import Case
from fastgru.verify.compare import differences, largest_by_step
from fastgru.verify.roles import AxisRoles

__all__ = ["Bench", "Tally"]


_TIMED_S: Final = 0.15
_MOST_CALLS: Final = 400


class Tally:
    """The errors of one tensor, added up call by call. time_axis: the axis of `by_step`, if any."""

    def __init__(self, time_axis: int | None = None) -> None:
        self._time_axis = time_axis
        self._largest = self._scale = self._sum = self._squares = self._signal = 0.0
        self._count = self._finite = 0
        self._cases: list[list[float]] = []

    def begin(self) -> None:
        """Start another case."""
        self._cases.append([])

    def add(self, got: Array, expected: Array) -> None:
        b = expected.astype(np.float64)
        d = differences(got.astype(np.float64), b)
        finite = np.abs(b[np.isfinite(b)])
        self._largest = max(self._largest, float(d.max(initial=0.0)))
        self._scale = max(self._scale, float(finite.max(initial=0.0)))
        self._sum += float(d.sum())
        self._squares += float(np.square(d).sum())
        self._signal += float(np.square(finite).sum())
        self._count += d.size
        self._finite += finite.size
        self._cases[-1] += largest_by_step(d, self._time_axis)

    def errors(self) -> Errors:
        if not self._squares:
            db = math.inf
        elif not math.isfinite(self._squares) or not self._signal:
            db = -math.inf
        else:
            db = 10 * math.log10(self._signal / self._squares)
        longest = max(self._cases, key=len, default=[])
        by_step = tuple(longest) if len(longest) > 1 else ()
        return Errors(self._largest, self._sum / max(self._count, 1), self._scale, db, by_step, self._finite)


def _outside(graph: Graph, names: Sequence[str]) -> dict[str, str]:
    """Return each of these values under its own name, or for a value in a body the first float output of that node."""
    facts, shown = infer_graph(graph), {name: name for name in names}
    for node in graph.nodes:
        floats = [name for name in node.outputs if name and (facts[name].dtype or "").startswith("float")]
        for inner in every_node(n for body in node.bodies.values() for n in body.nodes):
            shown.update((name, floats[0]) for name in inner.outputs if name in shown and floats)
    return shown


class Bench:
    """A simplified graph with its cases.

    layers: values between its nodes to compare, too. A value in the body of a loop or branch stands for the first float
        output of that node.
    """

    def __init__(self, graph: Graph, cases: Sequence[Case], layers: Sequence[str]) -> None:
        outputs = [spec.name for spec in graph.outputs]
        self._shown = _outside(graph, layers)
        self.layers = [name for name in dict.fromkeys(self._shown.values()) if name not in outputs]
        taps = tuple(TensorSpec(name, "float32", None) for name in self.layers)
        self._graphs = {False: graph, True: replace(graph, outputs=(*graph.outputs, *taps))}
        self._cases = list(cases)
        roles = AxisRoles(graph)
        self._axes = {name: roles.axis_of(name, "T") for name in (*outputs, *self.layers)}
        self._packs: Packs = {}
        self._exact = {layers: Executable(g, packs=self._packs) for layers, g in self._graphs.items()}

    def errors(self, precisions: Mapping[str, str], *, layers: bool = True, short: bool = False) -> dict[str, Errors]:
        """Return the errors of every output, and of the layers, with these precisions and float32 for the other nodes.

        short: leave out the last case.
        """
        graph, theirs = self._graphs[layers], self._exact[layers]
        ours = Executable(graph, precision=precisions, packs=self._packs)
        tallies = {spec.name: Tally(self._axes[spec.name]) for spec in graph.outputs}
        for case in self._cases[:-1] if short and len(self._cases) > 1 else self._cases:
            for tally in tallies.values():
                tally.begin()
            carried: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
            for call in case.calls:
                got, expected = (
                    executable.run({**states, **call})
                    for executable, states in zip((ours, theirs), carried, strict=True)
                )
                for name, tally in tallies.items():
                    tally.add(got[name], expected[name])
                for states, results in zip(carried, (got, expected), strict=True):
                    states.update((source, results[target]) for source, target in graph.states.items())
        found = {name: tally.errors() for name, tally in tallies.items()}
        return found | {name: found[shown] for name, shown in self._shown.items() if shown in found}

    def timings(self, precisions: Mapping[str, str], *, first: bool = False, seconds: float = _TIMED_S) -> list[Timing]:
        """Time the first call of every case, or of the first case alone; the two sides take turns for `seconds`."""
        sides = self._exact[False], Executable(self._graphs[False], precision=precisions, packs=self._packs)
        timings = []
        for case in self._cases[:1] if first else self._cases:
            call = case.calls[0]
            for side in sides:
                side.run(call)
            samples: tuple[list[float], list[float]] = ([], [])
            begin = time.perf_counter()
            while len(samples[0]) < _MOST_CALLS and (time.perf_counter() - begin < seconds or len(samples[0]) < 5):
                for side, taken in zip(sides, samples, strict=True):
                    start = time.perf_counter()
                    side.run(call)
                    taken.append(time.perf_counter() - start)
            before, after = (float(np.median(taken)) for taken in samples)
            timings.append(Timing(case.label, before, after))
        return timings
