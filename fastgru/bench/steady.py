"""How steady a step is: what it allocates, its tail, what denormals cost, and how long a process takes to begin."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import fastgru
from fastgru.bench.cases import Case
from fastgru.bench.contender import Contender
from fastgru.bench.measure import Plan, ratio, take_turns
from fastgru.bench.ours import ours
from fastgru.bench.problem import Problem, gru_problem
from fastgru.spec import GRUWeights

__all__ = ["allocations", "cold_start", "denormals", "growth", "measure_model", "measure_steadiness", "tail"]

_CASE = Case("step", 1, 1, 64, 64)
_KEEPS = 8.0  # of the update gate's bias: the state then shrinks by 3e-4 a step


def measure_steadiness(
    *, pushes: int = 100_000, plan: Plan | None = None, starts: int = 7, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """All of it, as plain data. `starts`: how many processes of each kind are started."""
    progress("allocations of a step")
    found: dict[str, Any] = {"case": _CASE.slug, "allocations": allocations(pushes)}
    progress("the tail of a step")
    found["tails"] = [tail(pushes, collector=on) for on in (True, False)]
    progress("a step on denormals")
    found["denormals"] = denormals(plan or Plan())
    progress("processes that start")
    found["cold"] = cold_start(starts)
    return found


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
    found: dict[str, Any] = {"case": problem.name, "allocations": allocations(min(100_000, most // 4), problem)}
    progress("the tail of a call")
    found["tails"] = [tail(min(100_000, most // 2), collector=on, problem=problem) for on in (True, False)]
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


def allocations(pushes: int, problem: Problem | None = None) -> dict[str, Any]:
    """Of `pushes` steps with `out=` given: bytes that Python keeps, bytes that come and go within a step, and blocks
    that Numba's runtime allocates."""
    call = ours(problem or gru_problem(_CASE), 1).call
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection empties Python's free lists, and filling them again would be counted
    tracemalloc.start()
    try:
        for _ in range(100):
            call()
        _traced(call, 1)
        # What looking costs, and calling anything at all with these arguments.
        arguments = call if isinstance(call, partial) else partial(call)
        idle = _traced(partial(_nothing, *arguments.args, **arguments.keywords), pushes)
        numba_before = _numba_allocations()
        busy = _traced(call, pushes)
        by_numba = _numba_allocations() - numba_before
    finally:
        tracemalloc.stop()
        (gc.enable if was_on else gc.disable)()
    return {
        "pushes": pushes,
        "kept_bytes": max(0, busy[0] - idle[0]),
        "passing_bytes": max(0, busy[1] - idle[1]),
        "numba_allocations": by_numba,
    }


def _nothing(*_: object, **__: object) -> None: ...


def _traced(call: Callable[[], object], count: int) -> tuple[int, int]:
    """Bytes kept after `count` calls, and the most that there were in between."""
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    for _ in repeat(None, count):
        call()
    after, peak = tracemalloc.get_traced_memory()
    return after - before, peak - before


def _numba_allocations() -> int:
    from numba.core.runtime import _nrt_python, rtsys

    _nrt_python.memsys_enable_stats()
    stats = rtsys.get_allocation_stats()
    return int(stats.alloc + stats.mi_alloc)


def tail(pushes: int, *, collector: bool, problem: Problem | None = None) -> dict[str, Any]:
    """p99, p99.9 and the worst of single steps as multiples of their median, the garbage collector on or off."""
    call, clock = ours(problem or gru_problem(_CASE), 1).call, time.perf_counter_ns
    for _ in range(min(1000, pushes)):
        call()
    samples = np.empty(pushes, np.int64)
    was_on = gc.isenabled()
    gc.collect()
    (gc.enable if collector else gc.disable)()
    try:
        for k in range(pushes):
            start = clock()
            call()
            samples[k] = clock() - start
    finally:
        (gc.enable if was_on else gc.disable)()
    middle, p99, p999 = np.percentile(samples, [50, 99, 99.9])
    return {
        "pushes": pushes,
        "collector": collector,
        "median_s": float(middle) * 1e-9,
        "p99": float(p99 / middle),
        "p999": float(p999 / middle),
        "worst": float(samples.max() / middle),
    }


def denormals(plan: Plan) -> dict[str, Any]:
    """Time of a step whose input is silence and whose state has sunk to denormal numbers, over that of a lively one.

    The update gate nearly keeps the state, so that without flushing it would stay denormal for thousands of steps.
    """
    problem = gru_problem(_CASE)
    assert problem.stack is not None
    ((w,),) = problem.stack.weights
    H = _CASE.H
    keeping = GRUWeights(
        w.weight_ih, w.weight_hh, np.repeat(np.array([0, _KEEPS, 0], np.float32), H), np.zeros(3 * H, np.float32)
    )
    graph = fastgru.GRU(problem.stack.specs, [(keeping,)]).to_graph(initial_state=True)
    contenders = []
    for name, x, h in (
        ("lively", problem.feeds["x"], np.random.default_rng(0).standard_normal((1, 1, H)).astype(np.float32)),
        ("denormal", np.zeros((1, 1, _CASE.I), np.float32), np.full((1, 1, H), 1e-39, np.float32)),
    ):
        stream = fastgru.Model(graph).stream(1)
        out = np.empty((1, 1, H), np.float32)
        stream.push(x, out=out)
        stream.set_state({"h0": h})
        contenders.append(Contender(name, "", partial(stream.push, x, out=out), dict))
    lively, denormal = take_turns(contenders, replace(plan, turn_s=min(plan.turn_s, 0.01)))
    found = ratio(lively, denormal)
    return {"ratio": found.median, "low": found.low, "high": found.high}


_START_OURS = """
import sys, numpy
import fastgru
model = fastgru.load(sys.argv[1])
model.run({spec.name: numpy.zeros([n or 1 for n in spec.shape], "float32") for spec in model.inputs})
print("out", flush=True)
"""
_START_ONNXRUNTIME = """
import sys, numpy
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {i.name: numpy.zeros(i.shape, "float32") for i in session.get_inputs()})
print("out", flush=True)
"""


def cold_start(starts: int, *, compile_once: bool = True) -> dict[str, Any]:
    """Seconds from the start of a process to the first output of the same ONNX file: medians, in turn.

    With `compile_once`, first_compile_s is ours once more with an empty cache of kernels.
    """
    scripts, absent = {"fastgru": _START_OURS}, {}
    if importlib.util.find_spec("onnxruntime") is None:
        absent["onnxruntime"] = "not installed"
    else:
        scripts["onnxruntime"] = _START_ONNXRUNTIME
    problem = gru_problem(_CASE)
    assert isinstance(problem.onnx, bytes)
    with tempfile.TemporaryDirectory(prefix="fastgru-bench-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(problem.onnx)
        _start(_START_OURS, path)  # warms the cache
        times: dict[str, list[float]] = {name: [] for name in scripts}
        for _ in range(starts):
            for name, script in scripts.items():
                times[name].append(_start(script, path))
        found: dict[str, Any] = {"medians_s": {name: median(each) for name, each in times.items()}, "absent": absent}
        if compile_once:
            found["first_compile_s"] = _start(_START_OURS, path, FASTGRU_CACHE_DIR=str(Path(folder) / "cache"))
    return found


def _start(script: str, path: Path, **environment: str) -> float:
    """Seconds until the process has written its line. Its errors are ours.

    Python may keep the bytecode of modules, as it does of what pip has installed.
    """
    package = str(Path(fastgru.__file__).parent.parent)
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    search = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, "PYTHONPATH": search, **environment},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed = time.perf_counter() - start
        _, errors = process.communicate()
    if line.strip() != "out":
        raise RuntimeError(f"a process that should give a first output fails: {errors.strip()[-500:]}")
    return elapsed
