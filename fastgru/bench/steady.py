"""How steady a step is: what it allocates, its tail, what denormals cost, and how long a process takes to begin."""

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
from fastgru.bench.cold import CASE, cold_start
from fastgru.bench.contender import NAME, Contender, ours
from fastgru.bench.measure import Plan, outputs_of, ratio, take_turns
from fastgru.bench.problem import Problem, gru_problem
from fastgru.bench.rivals.other import OTHER, Sides
from fastgru.spec import GRUWeights

__all__ = ["compare_steadiness", "denormals", "growth", "measure_model", "measure_steadiness"]

# Beside another fastgru: pairs of new processes, calls that are watched, and the most that these may take.
_PAIRS, _PUSHES, _WATCH_S = 5, 50_000, 1.0
_STARTS = 7
_PACED, _INTERVAL_S = 100, 0.01  # as a sound card calls
_KEEPS = 8.0  # of the update gate's bias: the state then shrinks by 3e-4 a step


def measure_steadiness(
    *, pushes: int = 100_000, plan: Plan | None = None, starts: int = _STARTS, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """All of it, as plain data. `starts`: how many processes of each kind are started."""
    progress("what a step keeps, and its tail")
    call = ours(gru_problem(CASE), 1).call
    found: dict[str, Any] = {"case": CASE.slug, **_watched(lambda what, **o: getattr(watch, what)(call, **o), pushes)}
    progress("a step on denormals")
    found["denormals"] = denormals(plan or Plan())
    progress("processes that start")
    found["cold"] = cold_start(starts)
    return found


def compare_steadiness(
    against: Path, problem: Problem | None = None, *, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Ours and the fastgru of another interpreter: for each, a list of what so many new processes give.

    problem: a model, whose calls are watched instead of a step; processes that start are of the step alone.
    """
    watched = problem or gru_problem(CASE)
    found: dict[str, Any] = {"case": watched.name, NAME: [], OTHER: []}
    for number in range(_PAIRS):
        progress(f"what a call keeps, and its tail, {number + 1} of {_PAIRS}")
        with Sides(against) as sides:
            made = {NAME: sides.ours(watched, 1), OTHER: sides.theirs(watched, 1)}
            for contender in made.values():
                outputs_of(contender, watched)
            # As many of both, whatever each of them takes.
            seconds = max(contender.timed(5, 1)[0] for contender in made.values()) / 5e9
            for name in made if number % 2 else reversed(made):
                found[name].append(_watched(partial(sides.watch, name), max(20, min(_PUSHES, int(_WATCH_S / seconds)))))
    if problem is None:
        progress("processes that start")
        found["cold"] = cold_start(_STARTS, against=against)
    return found


def _watched(watch: Callable[..., dict[str, Any]], pushes: int) -> dict[str, Any]:
    return {
        "allocations": watch("allocations", pushes=pushes),
        "tails": [watch("tail", pushes=pushes, collector=on) for on in (True, False)],
        "paced": watch("paced", pushes=_PACED, interval_s=_INTERVAL_S),
    }


def measure_model(
    problem: Problem, *, frames: int = 1_000_000, seconds: float = 60.0, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """What a call of a model allocates, its tail, and by how much the process grows over so many frames.

    seconds: the most that each of the three may take; fewer calls are made where they are slower.
    """
    call = ours(problem, 1).call
    start = time.perf_counter()
    for _ in range(20):
        call()
    most = max(100, int(seconds * 20 / (time.perf_counter() - start)))
    progress("allocations of a call")
    allocations = watch.allocations(call, pushes=min(100_000, most // 4))
    found: dict[str, Any] = {"case": problem.name, "allocations": allocations}
    progress("the tail of a call")
    found["tails"] = [watch.tail(call, pushes=min(100_000, most // 2), collector=on) for on in (True, False)]
    progress("growth of the process")
    found["growth"] = growth(min(frames, most), problem)
    return found


def growth(frames: int, problem: Problem) -> dict[str, Any]:
    """Bytes of resident memory after `frames` calls that return new arrays, less those before; None where the system
    does not tell."""
    model = fastgru.Model(problem.graph, precision=problem.precision)
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
    """Time of a step whose input is silence and whose state has sunk to denormal numbers, over that of a lively one.

    The update gate nearly keeps the state, so that without flushing it would stay denormal for thousands of steps.
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
