"""The rival ONNX Runtime."""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.contender import Contender
from fastgru.bench.problem import Problem
from fastgru.bench.rivals.turns import bound, counts, frames_of, like, onnx_feeds
from fastgru.terminal import counted

__all__ = ["onnxruntime"]

Array = NDArray[Any]


def onnxruntime(problem: Problem, threads: int) -> list[Contender]:
    """Return contenders with `run` on arrays, and with I/O binding. Threads spin between runs, as by default."""
    feeds = onnx_feeds(problem)
    ort = importlib.import_module("onnxruntime")
    found = []
    for n in counts(threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = n, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(problem.onnx, options, providers=["CPUExecutionProvider"])
        run = _run_frames if problem.is_block else _run
        bind, outputs = partial(_bind, ort, session), partial(_outputs, session, {**feeds, **problem.state_arrays})
        found += [run(problem, session, n), bound(problem, "onnxruntime", "I/O binding", n, bind, outputs)]
    return found


def _run(problem: Problem, session: Any, n: int) -> Contender:
    names = [output.name for output in session.get_outputs()]
    places = {source: names.index(target) for source, target in problem.states.items()}
    current = {**problem.feeds, **problem.state_arrays}
    last: list[Array] = []
    run = session.run

    def stateless() -> None:
        last[:] = run(names, current)

    def stateful() -> None:
        last[:] = run(names, current)
        for source, place in places.items():
            current[source] = last[place]

    return Contender(
        "onnxruntime",
        f"run, {counted(n, 'thread')}",
        stateful if places else stateless,
        lambda: like(problem.expected[0], dict(zip(names, last, strict=True))),
        lambda: current.update(problem.state_arrays),
    )


def _run_frames(problem: Problem, session: Any, n: int) -> Contender:
    x, zero = problem.feeds["x"], problem.state_arrays["h0"]
    frames = [x[t : t + 1] for t in range(len(x))]
    kept: list[Array] = []
    run = session.run

    def call() -> None:
        h = zero
        kept.clear()
        for frame in frames:
            (h,) = run(None, {"x": frame, "h0": h})
            kept.append(h)

    return Contender(
        "onnxruntime", f"once a frame, run, {counted(n, 'thread')}", call, lambda: frames_of(problem, kept)
    )


def _bind(ort: Any, session: Any, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], object]:
    binding, value = session.io_binding(), ort.OrtValue.ortvalue_from_numpy
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, value(array))
    for name, array in outputs.items():
        binding.bind_ortvalue_output(name, value(array))
    return partial(session.run_with_iobinding, binding)


def _outputs(session: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
    made = session.run(None, inputs)
    return {o.name: np.empty_like(array) for o, array in zip(session.get_outputs(), made, strict=True)}
