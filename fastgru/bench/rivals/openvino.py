"""The rival OpenVINO."""

import importlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.contender import Contender
from fastgru.bench.problem import Problem
from fastgru.bench.rivals.turns import bound, counts, onnx_feeds

__all__ = ["openvino"]

Array = NDArray[Any]

_HINTS: Final = {"float32": "f32", "bfloat16": "bf16"}


def openvino(problem: Problem, threads: int, *, precision: str = "float32") -> list[Contender]:
    """Return contenders in latency mode with one stream, on our memory: with `infer`, and with start and wait.

    precision: that of the computation, "float32" or "bfloat16"; inputs and outputs are float32.

    Threads are not pinned, because a pinned caller would slow down the contender after it.
    """
    feeds = onnx_feeds(problem)
    ov = importlib.import_module("openvino")
    core = _core()
    model = core.read_model(problem.onnx)
    shapes = {name: a.shape for name, a in {**feeds, **problem.state_arrays}.items()}
    if problem.is_block:
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
            bind, outputs = partial(_bind, ov, compiled, way), partial(_outputs, compiled)
            found.append(bound(problem, "openvino", way, n, bind, outputs))
    return found


@cache
def _core() -> Any:
    return importlib.import_module("openvino").Core()


def _bind(
    ov: Any, compiled: Any, way: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> Callable[[], object]:
    request = compiled.create_infer_request()
    for name, array in (*inputs.items(), *outputs.items()):
        request.set_tensor(name, ov.Tensor(array, shared_memory=True))
    if way == "infer":
        return partial(request.infer, None, share_inputs=True, share_outputs=True)
    start, wait = request.start_async, request.wait

    def call() -> None:
        start()
        wait()

    return call


def _outputs(compiled: Any) -> dict[str, Array]:
    return {o.get_any_name(): np.empty(list(o.shape), o.element_type.to_dtype()) for o in compiled.outputs}
