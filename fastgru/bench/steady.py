"""Measures how steady a step is: its allocations, its tail, steps at an interval, denormals, and new processes."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

import fastgru
from fastgru.bench import watch
from fastgru.bench.cold import CASE, cold_start, first_calls
from fastgru.bench.contender import NAME, Contender, UnableError, ours
from fastgru.bench.measure import SPINNING_S, Plan, outputs_of, ratio, take_turns
from fastgru.bench.problem import Problem, gru_problem
from fastgru.bench.rivals import RIVALS
from fastgru.bench.rivals.other import OTHER, Sides
from fastgru.bench.suite import best_configuration
from fastgru.records import dataclass
from fastgru.spec import GRUWeights

__all__ = ["Pace", "compare_steadiness", "denormals", "growth", "measure_model", "measure_steadiness", "paced_calls"]

# For a comparison with another fastgru: pairs of new processes, watched calls, and the most time for them.
_PAIRS, _PUSHES, _WATCH_S = 5, 50_000, 1.0
_STARTS = 7
_PACED_OF_PAIRS = 100
_KEEPS = 8.0  # bias of the update gate: the state then shrinks by 3e-4 per step


@dataclass(frozen=True)
class Pace:
    """How calls at an interval are measured: next to which rivals, how often, and how many.

    plan: used to find the fastest configuration of a rival.
    """

    rivals: tuple[str, ...] = ()
    interval_s: float = 0.01  # a typical interval of a sound card
    pushes: int = 1000
    plan: Plan = Plan()


def measure_steadiness(
    pace: Pace, *, pushes: int = 100_000, starts: int = _STARTS, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Return all measurements as plain data. starts: how many processes of each kind to start."""
    problem = gru_problem(CASE)
    call = ours(problem, 1).call
    progress("what a step allocates, and its tail")
    found: dict[str, Any] = {"case": CASE.title, **_allocations_and_tails(partial(_watch_here, call), pushes)}
    found |= paced_calls(problem, pace, progress)
    progress("a step on denormals")
    found["denormals"] = denormals(pace.plan)
    progress("processes that start")
    found["first"] = first_calls(starts)
    found["cold"] = cold_start(starts)
    return found


def paced_calls(problem: Problem, pace: Pace, progress: Callable[[str], None]) -> dict[str, Any]:
    """Return `watch.paced` of ours and of the rivals, by name, and the reasons of rivals without a result."""
    contenders, absent = [ours(problem, 1)], {}
    for name in pace.rivals:
        try:
            rival = RIVALS[name]
            found, _ = best_configuration(rival, problem, 1, None, rival.precision_of(problem), pace.plan)
            contenders.append(replace(found, name=name))
        except UnableError as error:
            absent[name] = str(error)
    paced = {}
    for contender in contenders:
        progress(f"a call every {1e3 * pace.interval_s:g} ms, {contender.name}")
        contender.reset()
        time.sleep(SPINNING_S)
        with contender.around():
            paced[contender.name] = watch.paced(contender.call, pushes=pace.pushes, interval_s=pace.interval_s)
    return {"paced": paced, "absent": absent}


def compare_steadiness(
    against: Path,
    problem: Problem | None = None,
    *,
    interval_s: float = Pace.interval_s,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Compare ours with the fastgru of another interpreter: for each, a list of the results of new processes.

    problem: a model whose calls are watched instead of a step. Starts of processes are measured only for the step.
    interval_s: how often a call is due.
    """
    watched = problem or gru_problem(CASE)
    found: dict[str, Any] = {"case": watched.name, NAME: [], OTHER: []}
    for number in range(_PAIRS):
        progress(f"what a call keeps, and its tail, {number + 1} of {_PAIRS}")
        with Sides(against) as sides:
            made = {NAME: sides.ours(watched, 1), OTHER: sides.theirs(watched, 1)}
            for contender in made.values():
                outputs_of(contender, watched)
            # The same number for both, whatever a call of each takes.
            seconds = max(contender.timed(5, 1)[0] for contender in made.values()) / 5e9
            for name in made if number % 2 else reversed(made):
                pushes = max(20, min(_PUSHES, int(_WATCH_S / seconds)))
                found[name].append(_watched(partial(sides.watch, name), pushes, interval_s))
    if problem is None:
        progress("processes that start")
        found["cold"] = cold_start(_STARTS, against=against)
    return found


def _watched(watch: Callable[..., dict[str, Any]], pushes: int, interval_s: float) -> dict[str, Any]:
    return {
        **_allocations_and_tails(watch, pushes),
        "paced": watch("paced", pushes=_PACED_OF_PAIRS, interval_s=interval_s),
    }


def _allocations_and_tails(watch: Callable[..., dict[str, Any]], pushes: int) -> dict[str, Any]:
    return {
        "allocations": watch("allocations", pushes=pushes),
        "tails": [watch("tail", pushes=pushes, collector=on) for on in (True, False)],
    }


def _watch_here(call: Callable[[], object], what: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(watch, what)(call, **options)
    return found


def measure_model(
    problem: Problem,
    pace: Pace,
    *,
    frames: int = 1_000_000,
    seconds: float = 60.0,
    starts: int = _STARTS,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure what a call of a model allocates, its tail, calls at an interval, and the growth of the process.

    seconds: the most time for each of these; slow calls are made less often.
    """
    call = ours(problem, 1).call
    start = time.perf_counter()
    for _ in range(20):
        call()
    each = (time.perf_counter() - start) / 20
    most = max(100, int(seconds / each))
    progress("what a call allocates, and its tail")
    found: dict[str, Any] = {
        "case": problem.name,
        **_allocations_and_tails(partial(_watch_here, call), min(100_000, most // 4)),
    }
    pushes = max(10, min(pace.pushes, int(seconds / max(each, pace.interval_s))))
    found |= paced_calls(problem, replace(pace, pushes=pushes), progress)
    progress("the growth of the process")
    found["growth"] = growth(min(frames, most), problem)
    if problem.path is not None:
        progress("first calls of processes")
        found["first"] = first_calls(starts, problem)
    return found


def growth(frames: int, problem: Problem) -> dict[str, Any]:
    """Return the growth of resident memory over `frames` calls that return new arrays; None if the system does not
    report it.
    """
    model = fastgru.Model(problem.graph, precision=problem.asked)
    if problem.streaming:
        stream = model.stream(problem.batch_size, state=problem.states)
        call: Callable[[], object] = partial(stream.push, *(problem.feeds[name] for name in stream.inputs))
    else:
        call = partial(model.run, problem.feeds)
    for _ in range(min(1000, frames)):
        call()
    before = _resident_bytes()
    for _ in repeat(None, frames):
        call()
    after = _resident_bytes()
    return {"frames": frames, "bytes": None if before is None or after is None else after - before}


def _resident_bytes() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def denormals(plan: Plan) -> dict[str, Any]:
    """Time a step with silent input and a denormal state, relative to one with a normal state.

    The update gate nearly keeps the state, so without flushing it would stay denormal for thousands of steps.
    """
    problem = gru_problem(CASE)
    assert problem.stack is not None
    ((w,),) = problem.stack.weights
    H = CASE.H
    keeping = GRUWeights(
        w.weight_ih, w.weight_hh, np.repeat(np.array([0, _KEEPS, 0], np.float32), H), np.zeros(3 * H, np.float32)
    )
    graph = fastgru.GRU(problem.stack.specs, [(keeping,)]).to_graph(initial_state=True)
    contenders = []
    for name, x, h in (
        ("lively", problem.feeds["x"], np.random.default_rng(0).standard_normal((1, 1, H)).astype(np.float32)),
        ("denormal", np.zeros((1, 1, CASE.I), np.float32), np.full((1, 1, H), 1e-39, np.float32)),
    ):
        stream = fastgru.Model(graph).stream(1)
        out = np.empty((1, 1, H), np.float32)
        stream.push(x, out=out)
        stream.set_state({"h0": h})
        contenders.append(Contender(name, "", partial(stream.push, x, out=out), dict))
    lively, denormal = take_turns(contenders, replace(plan, turn_s=min(plan.turn_s, 0.01)))
    found = ratio(lively, denormal)
    return {"ratio": found.median, "low": found.low, "high": found.high}
