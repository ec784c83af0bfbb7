"""Check random graphs in a process of its own, and say what became of them as JSON on standard output.

    python tests/fuzz/graph_worker.py numbered FIRST COUNT SEED FOLDER [thorough]
    python tests/fuzz/graph_worker.py spoiled FIRST COUNT SEED FOLDER
    python tests/fuzz/graph_worker.py file PATH COUNT SEED FOLDER
    python tests/fuzz/graph_worker.py drawn COUNT SEED FOLDER

numbered: graph n of a seed is the same every time, and a failure does not end the run. spoiled: each graph some times
with other numbers in it, for which an error of the tree is an answer, see `graph_spoil`. file: the same with the model
of a file. drawn: hypothesis draws the graphs, and makes the first failure small. Any exception is a failure, or more
than SECONDS of processor time for one graph: the model is left in FOLDER, numbered as SEED-n.onnx. The one on which the
process died is last.onnx, its number in last.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
from graph_check import check_graph
from graph_registry import GENERATORS
from graph_spoil import run_between_fences, run_spoiled, spoiled_inputs
from graph_strategies import RejectError, build_graph, graphs
from hypothesis import HealthCheck, given, seed, settings
from onnx import helper, printer
from peak import peak_bytes

SECONDS = 60
SECONDS_SPOILED = 40  # the fences around some GiB are slow
SPOILED = 8  # versions of each graph
SHOWN = 4000
ONE_IN = 4  # graphs that are checked in every way


class TooLongError(BaseException):
    """Not an `Exception`, so that no handler on the way swallows it."""


class Run:
    """outcomes: how many graphs became what; operators: how many nodes each had in what was checked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcomes: Counter[str] = Counter()
        self.operators: Counter[str] = Counter()
        self.failures: list[tuple[Any, str]] = []

    def check(self, number: Any, graph: tuple[Any, Any], rng: random.Random, *, thorough: bool) -> None:
        b, values = graph
        model = b.model(values)
        (self.folder / "last.onnx").write_bytes(model.SerializeToString())
        (self.folder / "last").write_text(str(number))
        self.operators.update(node.op_type for node in model.graph.node)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            self.outcomes[check_graph(b, values, rng, thorough=thorough)] += 1
        except TooLongError:
            raise AssertionError(f"more than {SECONDS} seconds") from None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def spoiled(self, number: str, outcome: Callable[[], str]) -> None:
        (self.folder / "last").write_text(number)
        signal.setitimer(signal.ITIMER_PROF, SECONDS_SPOILED)
        try:
            self.outcomes[outcome()] += 1
        except (Exception, TooLongError) as error:
            self.failed(number, error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def failed(self, number: Any, error: BaseException) -> None:
        self.outcomes["failure"] += 1
        self.failures.append((number, "".join(traceback.format_exception(error)[-4:])))
        if (self.folder / "last.onnx").exists():
            (self.folder / "last.onnx").rename(self.folder / f"{number}.onnx")

    def report(self) -> None:
        peak = peak_bytes() // 1024
        report = {"outcomes": self.outcomes, "operators": self.operators, "failures": self.failures, "peak_kib": peak}
        print(json.dumps(report))


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise TooLongError


def numbered(first: str, count: str, name: str, folder: str, thorough: str = "") -> None:
    names = sorted(GENERATORS)
    run = Run(Path(folder))
    for number in range(int(first), int(first) + int(count)):
        rng = random.Random(f"{name} {number}")
        try:
            graph = build_graph(rng, names[number % len(names)])
        except RejectError:
            run.outcomes["not built"] += 1
            continue
        try:
            run.check(f"{name}-{number}", graph, rng, thorough=bool(thorough) or number % ONE_IN == 0)
        except Exception as error:
            run.failed(f"{name}-{number}", error)
    run.report()


def spoiled(first: str, count: str, name: str, folder: str) -> None:
    names = sorted(GENERATORS)
    run = Run(Path(folder))
    for number in range(int(first), int(first) + int(count)):
        rng = random.Random(f"{name} {number}")
        try:
            graph = build_graph(rng, names[number % len(names)])
        except RejectError:
            continue
        for turn in range(SPOILED):
            key = f"{name}-{number}-{turn}"
            run.spoiled(key, partial(run_spoiled, *graph, random.Random(key)))
    run.report()


def file(path: str, count: str, name: str, folder: str) -> None:
    """Every free size is 1, and every input 0."""
    model = onnx.load(path)
    feeds = {}
    for info in model.graph.input:
        tensor = info.type.tensor_type
        shape = [d.dim_value or 1 for d in tensor.shape.dim]
        feeds[info.name] = np.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    held = {tensor.name for tensor in model.graph.initializer}
    feeds = {n: a for n, a in feeds.items() if n not in held}
    run = Run(Path(folder))
    for number in range(int(count)):
        key = f"{name}-{number}"
        run.spoiled(key, lambda key=key: run_between_fences(*spoiled_inputs(model, feeds, random.Random(key))))
    run.report()


def drawn(count: str, name: str, folder: str) -> None:
    run = Run(Path(folder))
    last: list[Any] = []

    @seed(int(name))
    @settings(max_examples=int(count), database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(graphs())
    def every_graph_holds(graph: tuple[Any, Any]) -> None:
        last[:] = [graph]
        number = sum(run.outcomes.values())
        run.check(f"drawn-{name}", graph, random.Random(number), thorough=number % ONE_IN == 0)

    try:
        every_graph_holds()
    except Exception as error:
        run.failed(f"drawn-{name}", error)
        b, values = last[0]
        run.failures.append(("its graph", printer.to_text(b.model(values))[:SHOWN]))
    run.report()


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, _too_long)
    {"numbered": numbered, "spoiled": spoiled, "file": file, "drawn": drawn}[sys.argv[1]](*sys.argv[2:])
