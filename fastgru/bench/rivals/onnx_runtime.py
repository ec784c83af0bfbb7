"""ONNX Runtime."""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.contender import Contender
from fastgru.bench.problem import Problem
from fastgru.bench.rivals.turns import counts, frame_by_frame, like, onnx_feeds, taking_turns, threads_of

__all__ = ["onnxruntime"]

Array = NDArray[Any]


def onnxruntime(problem: Problem, threads: int) -> list[Contender]:
    """`run` on arrays, and I/O binding to memory bound once; threads spin between runs, as they do by default."""
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
        if problem.case is not None and problem.case.kind == "block":
            found += _onnxruntime_frames(problem, ort, session, n)
        else:
            found += [_onnxruntime_run(problem, feeds, session, n), _onnxruntime_bound(problem, ort, session, n)]
    return found


def _onnxruntime_run(problem: Problem, feeds: Mapping[str, Array], session: Any, n: int) -> Contender:
    names = [output.name for output in session.get_outputs()]
    places = {source: names.index(target) for source, target in problem.states.items()}
    current = {**feeds, **problem.state_arrays}
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
        f"run, {threads_of(n)}",
        stateful if places else stateless,
        lambda: like(problem.expected[0], dict(zip(names, last, strict=True))),
        lambda: current.update(problem.state_arrays),
    )


def _onnxruntime_bound(problem: Problem, ort: Any, session: Any, n: int) -> Contender:
    """Two bindings that take turns where there is a state: what one writes the other reads."""
    value = ort.OrtValue.ortvalue_from_numpy
    kept = dict(zip([o.name for o in session.get_outputs()], session.run(None, _first(problem)), strict=True))
    outputs = {name: np.empty_like(array) for name, array in kept.items()}
    banks = [{name: a.copy() for name, a in problem.state_arrays.items()} for _ in range(2)]
    bindings = []
    for parity in range(2 if banks[0] else 1):
        binding = session.io_binding()
        before, after = banks[parity], banks[1 - parity]
        for name, array in {**problem.feeds, **before}.items():
            binding.bind_ortvalue_input(name, value(array))
        targets = {**outputs, **{problem.states[name]: array for name, array in after.items()}}
        for name, array in targets.items():
            binding.bind_ortvalue_output(name, value(array))
        bindings.append((binding, targets))
    return taking_turns(
        problem,
        "onnxruntime",
        f"I/O binding, {threads_of(n)}",
        [partial(session.run_with_iobinding, binding) for binding, _ in bindings],
        [targets for _, targets in bindings],
        banks,
    )


def _first(problem: Problem) -> dict[str, Array]:
    return {**problem.feeds, **problem.state_arrays}


def _onnxruntime_frames(problem: Problem, ort: Any, session: Any, n: int) -> list[Contender]:
    """Once a frame: `run` on each, or two bindings that take turns with the state."""
    x, zero = problem.feeds["x"], problem.state_arrays["h0"]
    frames = [x[t : t + 1] for t in range(len(x))]
    kept: list[Array] = []
    run, value = session.run, ort.OrtValue.ortvalue_from_numpy

    def call() -> None:
        h = zero
        kept.clear()
        for frame in frames:
            (h,) = run(None, {"x": frame, "h0": h})
            kept.append(h)

    def results() -> dict[str, Array]:
        y = np.stack(kept)
        return like(problem.expected[0], {"y": y, "h_n": y[-1]})

    one, banks = np.empty_like(x[:1]), [zero.copy(), zero.copy()]
    calls: list[Callable[[], object]] = []
    for parity in range(2):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", value(one))
        binding.bind_ortvalue_input("h0", value(banks[parity]))
        binding.bind_ortvalue_output("h_n", value(banks[1 - parity]))
        calls.append(partial(session.run_with_iobinding, binding))
    return [
        Contender("onnxruntime", f"once a frame, run, {threads_of(n)}", call, results),
        frame_by_frame(problem, "onnxruntime", f"once a frame, I/O binding, {threads_of(n)}", calls, one, banks),
    ]
