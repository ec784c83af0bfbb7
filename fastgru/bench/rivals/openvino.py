"""OpenVINO."""

import importlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.contender import Contender
from fastgru.bench.problem import Problem
from fastgru.bench.rivals.turns import counts, frame_by_frame, onnx_feeds, taking_turns, threads_of

__all__ = ["openvino"]

Array = NDArray[Any]

_HINTS: Final = {"float32": "f32", "bfloat16": "bf16"}


def openvino(problem: Problem, threads: int, *, precision: str = "float32") -> list[Contender]:
    """Latency mode, one stream; requests whose inputs and outputs are our memory; `infer`, and start and wait.

    precision: "float32", or "bfloat16" for what it computes in; it reads and gives float32.

    Threads are not pinned: a pinned caller would hinder whoever comes next.
    """
    feeds = onnx_feeds(problem)
    ov = importlib.import_module("openvino")
    core = _openvino_core()
    model = core.read_model(problem.onnx)
    block = problem.case is not None and problem.case.kind == "block"
    shapes = {name: a.shape for name, a in {**feeds, **problem.state_arrays}.items()}
    if block:
        shapes["x"] = (1, *shapes["x"][1:])
    model.reshape({i: list(shapes[i.get_any_name()]) for i in model.inputs})
    found = []
    for n in counts(threads):
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": n,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(model, "CPU", settings)
        for way in ("infer", "start and wait"):
            if block:
                found.append(_openvino_frames(problem, ov, compiled, way, n))
            else:
                found.append(_openvino_bound(problem, ov, compiled, way, n))
    return found


@cache
def _openvino_core() -> Any:
    return importlib.import_module("openvino").Core()


def _openvino_call(request: Any, way: str) -> Callable[[], object]:
    if way == "infer":
        return partial(request.infer, None, share_inputs=True, share_outputs=True)
    start, wait = request.start_async, request.wait

    def call() -> None:
        start()
        wait()

    return call


def _openvino_request(ov: Any, compiled: Any, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Any:
    request = compiled.create_infer_request()
    for name, array in inputs.items():
        request.set_tensor(name, ov.Tensor(array, shared_memory=True))
    for name, array in outputs.items():
        request.set_tensor(name, ov.Tensor(array, shared_memory=True))
    return request


def _openvino_bound(problem: Problem, ov: Any, compiled: Any, way: str, n: int) -> Contender:
    outputs = {o.get_any_name(): np.empty(list(o.shape), o.element_type.to_dtype()) for o in compiled.outputs}
    banks = [{name: a.copy() for name, a in problem.state_arrays.items()} for _ in range(2)]
    calls, targets = [], []
    for parity in range(2 if banks[0] else 1):
        after = {problem.states[name]: array for name, array in banks[1 - parity].items()}
        targets.append({**outputs, **after})
        request = _openvino_request(ov, compiled, {**problem.feeds, **banks[parity]}, targets[-1])
        calls.append(_openvino_call(request, way))
    return taking_turns(problem, "openvino", f"{way}, {threads_of(n)}", calls, targets, banks)


def _openvino_frames(problem: Problem, ov: Any, compiled: Any, way: str, n: int) -> Contender:
    x, zero = problem.feeds["x"], problem.state_arrays["h0"]
    one, banks = np.empty_like(x[:1]), [zero.copy(), zero.copy()]
    calls = [
        _openvino_call(
            _openvino_request(ov, compiled, {"x": one, "h0": banks[parity]}, {"h_n": banks[1 - parity]}), way
        )
        for parity in range(2)
    ]
    return frame_by_frame(problem, "openvino", f"once a frame, {way}, {threads_of(n)}", calls, one, banks)
