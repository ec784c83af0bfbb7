"""Measures the time of a process from its start to its first output, and of its first call."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np

from fastgru.bench.cases import Case
from fastgru.bench.contender import NAME
from fastgru.bench.problem import Problem
from fastgru.bench.rivals.other import OTHER, WorkerError
from fastgru.layers import GRU, Linear, Sequential

__all__ = ["CASE", "cold_start", "first_calls"]

CASE = Case("step", 1, 1, 64, 64)

_START_OURS = """
import json, sys
sys.path[:] = json.loads(sys.argv[2]) or sys.path
import numpy
import fastgru
model = fastgru.load(sys.argv[1])
model.run({spec.name: numpy.zeros([n or 1 for n in spec.shape], "float32") for spec in model.inputs})
print("out", flush=True)
"""
_START_ONNXRUNTIME = """
import json, sys
sys.path[:] = json.loads(sys.argv[2]) or sys.path
import numpy
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
shapes = {i.name: [n if isinstance(n, int) else 1 for n in i.shape] for i in session.get_inputs()}
session.run(None, {name: numpy.zeros(shape, "float32") for name, shape in shapes.items()})
print("out", flush=True)
"""

_FIRST_CALLS = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[2]) or sys.path
import numpy
import fastgru
batch, states, options, warm, calls = json.loads(sys.argv[4])
model = fastgru.load(sys.argv[1], **options)
with numpy.load(sys.argv[3]) as archive:
    feeds = dict(archive)
if batch is None:
    call = lambda: model.run(feeds)
else:
    stream = model.stream(batch, state=states)
    frames = [feeds[name] for name in stream.inputs]
    call = lambda: stream.push(*frames)
    if warm:
        stream.warm_up(*frames)
times = []
for _ in range(calls):
    start = time.perf_counter_ns()
    call()
    times.append(time.perf_counter_ns() - start)
print(json.dumps(times), flush=True)
"""


def first_calls(starts: int, problem: Problem | None = None, *, calls: int = 100) -> dict[str, Any]:
    """Time the first push of a stream, or the first run of a stateless model, in new processes.

    problem: a model in a file, or None for the network of `cold_start`. All times except largest_s are medians.
    first_s, largest_s: the first call. warmed_s: the first call after `Stream.warm_up`, for streams only. later_s: the
    calls after the first.
    """
    with tempfile.TemporaryDirectory(prefix="fastgru-bench-") as name:
        folder = Path(name)
        path, frame = folder / "model.onnx", folder / "frame.npz"
        asked: list[Any] = [1, None, {}]
        if problem is None:
            path.write_bytes(_network(initial_state=True))
            np.savez(frame, x=np.zeros((1, 1, CASE.I), np.float32))
        else:
            assert problem.path is not None
            path = Path(problem.path)
            np.savez(frame, **cast(dict[str, Any], problem.feeds))
            batch = problem.batch_size if problem.streaming else None
            asked = [batch, dict(problem.states), {"precision": problem.asked, **problem.options}]
        times: dict[bool, list[list[int]]] = {}
        for warm in (False, True) if asked[0] is not None else (False,):
            words = json.dumps([*asked, warm, calls], default=os.fspath)
            arguments = [str(path), json.dumps(sys.path), str(frame), words]
            lines = [_line_of(Path(sys.executable), _FIRST_CALLS, arguments)[0] for _ in range(starts)]
            times[warm] = [json.loads(line) for line in lines]
    first = [each[0] * 1e-9 for each in times[False]]
    later = [median(each[1:]) * 1e-9 for each in times[False]]
    found = {"starts": starts, "first_s": median(first), "largest_s": max(first), "later_s": median(later)}
    if True in times:
        found["warmed_s"] = median(each[0] for each in times[True]) * 1e-9
    return found


def cold_start(starts: int, *, compile_once: bool = True, against: Path | None = None) -> dict[str, Any]:
    """Measure seconds from the start of a process to the first output of an ONNX file, in turns: medians and the least.

    The file has a GRU and a linear layer. With `compile_once`, first_compile_s is the time of ours with an empty cache
    of kernels. against: an interpreter with another fastgru, which takes the place of onnxruntime.
    """
    python, absent = Path(sys.executable), {}
    commands = {NAME: (python, _START_OURS, sys.path)}
    if against is not None:
        commands[OTHER] = (against, _START_OURS, [])
    elif importlib.util.find_spec("onnxruntime") is None:
        absent["onnxruntime"] = "not installed"
    else:
        commands["onnxruntime"] = (python, _START_ONNXRUNTIME, sys.path)
    with tempfile.TemporaryDirectory(prefix="fastgru-bench-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(_network())
        for command in commands.values():
            _start(*command, path)  # warms the cache
        times: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(starts):
            for name in sorted(commands, reverse=bool(number % 2)):
                times[name].append(_start(*commands[name], path))
        found: dict[str, Any] = {
            "medians_s": {name: median(each) for name, each in times.items()},
            "least_s": {name: min(each) for name, each in times.items()},
            "absent": absent,
        }
        if compile_once and against is None:
            found["first_compile_s"] = _start(*commands[NAME], path, FASTGRU_CACHE_DIR=str(Path(folder) / "cache"))
    return found


def _network(*, initial_state: bool = False) -> bytes:
    """Return an ONNX file with a GRU and a linear layer on its outputs, with the sizes of `CASE`."""
    rng, H, I = np.random.default_rng(0), CASE.H, CASE.I
    shapes = {
        "gru.weight_ih_l0": (3 * H, I),
        "gru.weight_hh_l0": (3 * H, H),
        "gru.bias_ih_l0": (3 * H,),
        "gru.bias_hh_l0": (3 * H,),
        "head.weight": (I, H),
        "head.bias": (I,),
    }
    weights = {name: rng.uniform(-0.1, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    return Sequential(GRU.from_torch(weights, "gru"), Linear.from_torch(weights, "head")).to_onnx(
        initial_state=initial_state
    )


def _start(python: Path, script: str, search: list[str], path: Path, **environment: str) -> float:
    """Return the seconds until the process has written its line. search: its `sys.path`; empty keeps its own.

    Python may cache the bytecode of modules, as it does for installed packages. An interpreter with another fastgru has
    nothing of ours on its path.
    """
    line, elapsed = _line_of(python, script, [str(path), json.dumps(search)], **environment)
    if line.strip() != "out":
        raise WorkerError(f"{python}: a process that should give a first output prints {line[:500]!r}")
    return elapsed


def _line_of(python: Path, script: str, arguments: list[str], **environment: str) -> tuple[str, float]:
    """Return the first line that a new process prints, and the seconds until then. Raises `WorkerError` if it fails."""
    start = time.perf_counter()
    with subprocess.Popen(
        [str(python), "-I", "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed = time.perf_counter() - start
        _, errors = process.communicate()
    if process.returncode or not line:
        raise WorkerError(f"{python}: a process that should give a first output fails: {errors.strip()[-500:]}")
    return line, elapsed
