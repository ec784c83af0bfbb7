"""The rivals, each in every configuration that may be its best; the fastest of them is what we are compared with.

    for contender in RIVALS["onnxruntime"].contenders(problem, threads=2): ...

`threads` is what a rival may use; those that are quicker with fewer are tried with fewer. All of them read the arrays
of `Problem.feeds` where they lie. Raises `UnableError` with the reason where a rival cannot run a problem. A rival is
imported when it is first asked for. Where FASTGRU_ISA forces our kernels down to AVX2, the rivals that have a switch
for it are held to AVX2 as well, and those that have none stay out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import cycle
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.contender import Contender, UnableError
from fastgru.bench.problem import Problem
from fastgru.simd.cpu import ISA, host_isa

__all__ = ["RIVALS", "Rival"]

Array = NDArray[Any]

# Read by oneDNN (which OpenVINO and PyTorch carry), by MKL and by PyTorch's own kernels when they are loaded.
_HELD_TO_AVX2: Final = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OV_CPU_MAX_ISA": "AVX2",
}


@dataclass(frozen=True)
class Rival:
    """name: its module. make: every configuration of it for a problem and a number of threads."""

    name: str
    make: Callable[[Problem, int], list[Contender]]
    has_isa_switch: bool

    @property
    def version(self) -> str | None:
        """The installed version, None where it is absent. Nothing is imported for this."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def contenders(self, problem: Problem, threads: int) -> list[Contender]:
        """Raises `UnableError` where the rival is absent, cannot run this problem, or fails on it."""
        if importlib.util.find_spec(self.name) is None:
            raise UnableError("not installed")
        if host_isa() != ISA:
            if not self.has_isa_switch or ISA != "avx2":
                raise UnableError(f"has no switch that limits it to {ISA}")
            os.environ.update(_HELD_TO_AVX2)
        try:
            return self.make(problem, threads)
        except UnableError:
            raise
        except Exception as error:  # another project's code, which may fail in any way
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise UnableError(f"fails: {lines[0][:200]}") from error


def _counts(threads: int) -> list[int]:
    return sorted({1, threads}, reverse=True)


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def _like(expected: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Copies in our shapes: ONNX's y has an axis of one more, and a step that gives h_n alone gives y by it."""
    named = dict(outputs)
    if "y" in expected and "y" not in named and "h_n" in named:
        named["y"] = named["h_n"]
    return {name: np.array(a).reshape(expected[name].shape) for name, a in named.items() if name in expected}


def _onnx_feeds(problem: Problem) -> dict[str, Array]:
    if problem.onnx is None:
        raise UnableError("the model is not an ONNX file")
    return problem.feeds


# ONNX Runtime ---------------------------------------------------------------------------------------------------------


def _onnxruntime(problem: Problem, threads: int) -> list[Contender]:
    """`run` on arrays, and I/O binding to memory bound once; threads spin between runs, as they do by default."""
    feeds = _onnx_feeds(problem)
    ort = importlib.import_module("onnxruntime")
    found = []
    for n in _counts(threads):
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
        f"run, {_threads(n)}",
        stateful if places else stateless,
        lambda: _like(problem.expected[0], dict(zip(names, last, strict=True))),
        lambda: current.update(problem.state_arrays),
    )


def _onnxruntime_bound(problem: Problem, ort: Any, session: Any, n: int) -> Contender:
    """Two bindings that take turns where there is a state: what one writes the other reads."""
    value = ort.OrtValue.ortvalue_from_numpy
    kept = dict(zip([o.name for o in session.get_outputs()], session.run(None, _first(problem)), strict=True))
    outputs = {name: np.empty_like(array) for name, array in kept.items()}
    banks = [{name: a.copy() for name, a in problem.state_arrays.items()} for _ in range(2)]
    bindings = []
    for turn in range(2 if banks[0] else 1):
        binding = session.io_binding()
        before, after = banks[turn], banks[1 - turn]
        for name, array in {**problem.feeds, **before}.items():
            binding.bind_ortvalue_input(name, value(array))
        targets = {**outputs, **{problem.states[name]: array for name, array in after.items()}}
        for name, array in targets.items():
            binding.bind_ortvalue_output(name, value(array))
        bindings.append((binding, targets))
    return _taking_turns(
        problem,
        "onnxruntime",
        f"I/O binding, {_threads(n)}",
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
        return _like(problem.expected[0], {"y": y, "h_n": y[-1]})

    one, banks = np.empty_like(x[:1]), [zero.copy(), zero.copy()]
    calls: list[Callable[[], object]] = []
    for turn in range(2):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", value(one))
        binding.bind_ortvalue_input("h0", value(banks[turn]))
        binding.bind_ortvalue_output("h_n", value(banks[1 - turn]))
        calls.append(partial(session.run_with_iobinding, binding))
    return [
        Contender("onnxruntime", f"once a frame, run, {_threads(n)}", call, results),
        _frame_by_frame(problem, "onnxruntime", f"once a frame, I/O binding, {_threads(n)}", calls, one, banks),
    ]


def _frame_by_frame(
    problem: Problem,
    name: str,
    setting: str,
    calls: Sequence[Callable[[], object]],
    one: Array,
    banks: Sequence[Array],
) -> Contender:
    """Each frame is copied into `one`, which both calls read; the state goes from one bank to the other and back."""
    x, zero = problem.feeds["x"], problem.state_arrays["h0"]
    y = np.zeros((len(x), *zero.shape), zero.dtype)

    def call() -> None:
        banks[0][...] = 0
        for t in range(len(x)):
            one[...] = x[t]
            calls[t % 2]()
            y[t] = banks[1 - t % 2]

    return Contender(name, setting, call, lambda: _like(problem.expected[0], {"y": y, "h_n": y[-1]}))


def _taking_turns(
    problem: Problem,
    name: str,
    setting: str,
    calls: Sequence[Callable[[], object]],
    outputs: Sequence[Mapping[str, Array]],
    banks: Sequence[Mapping[str, Array]],
) -> Contender:
    """A contender of one call, or of two that take turns; `reset` begins with the first and a state of zeros."""
    if len(calls) == 1:
        return Contender(name, setting, calls[0], lambda: _like(problem.expected[0], outputs[0]))
    order = cycle(zip(calls, (0, 1), strict=True))
    turn = 1  # of the last call

    def call() -> None:
        nonlocal turn
        one, turn = next(order)
        one()

    def reset() -> None:
        if turn == 0:
            next(order)
        for bank in banks:
            for array in bank.values():
                array[...] = 0

    return Contender(name, setting, call, lambda: _like(problem.expected[0], outputs[turn]), reset)


# OpenVINO -------------------------------------------------------------------------------------------------------------


def _openvino(problem: Problem, threads: int) -> list[Contender]:
    """Latency mode, float32, one stream; requests whose inputs and outputs are our memory; `infer`, and start and wait.

    Threads are not pinned: a pinned caller would hinder whoever comes next.
    """
    feeds = _onnx_feeds(problem)
    ov = importlib.import_module("openvino")
    core = _openvino_core()
    model = core.read_model(problem.onnx)
    block = problem.case is not None and problem.case.kind == "block"
    shapes = {name: a.shape for name, a in {**feeds, **problem.state_arrays}.items()}
    if block:
        shapes["x"] = (1, *shapes["x"][1:])
    model.reshape({i: list(shapes[i.get_any_name()]) for i in model.inputs})
    found = []
    for n in _counts(threads):
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
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
    for turn in range(2 if banks[0] else 1):
        after = {problem.states[name]: array for name, array in banks[1 - turn].items()}
        targets.append({**outputs, **after})
        request = _openvino_request(ov, compiled, {**problem.feeds, **banks[turn]}, targets[-1])
        calls.append(_openvino_call(request, way))
    return _taking_turns(problem, "openvino", f"{way}, {_threads(n)}", calls, targets, banks)


def _openvino_frames(problem: Problem, ov: Any, compiled: Any, way: str, n: int) -> Contender:
    x, zero = problem.feeds["x"], problem.state_arrays["h0"]
    one, banks = np.empty_like(x[:1]), [zero.copy(), zero.copy()]
    calls = [
        _openvino_call(_openvino_request(ov, compiled, {"x": one, "h0": banks[turn]}, {"h_n": banks[1 - turn]}), way)
        for turn in range(2)
    ]
    return _frame_by_frame(problem, "openvino", f"once a frame, {way}, {_threads(n)}", calls, one, banks)


# PyTorch --------------------------------------------------------------------------------------------------------------


def _torch(problem: Problem, threads: int) -> list[Contender]:
    """Eager, in inference mode: torch.nn.GRU, and torch.nn.GRUCell where a call is one frame."""
    case, stack = problem.case, problem.stack
    if case is None or stack is None:
        raise UnableError("has no model of this file")
    if not case.reset_after:
        raise UnableError("its GRU has no reset before")
    torch = importlib.import_module("torch")
    dtype = getattr(torch, case.precision)
    gru = torch.nn.GRU(case.I, case.H, case.layers, bidirectional=case.bidirectional, dtype=dtype)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    state = {
        f"{name}_l{k}{'_reverse' if d else ''}": torch.from_numpy(getattr(w, name))
        for k, layer in enumerate(stack.weights)
        for d, w in enumerate(layer)
        for name in names
    }
    gru.load_state_dict(state)
    modules = {"nn.GRU": gru.eval()}
    if case.kind != "sequence":
        cell = torch.nn.GRUCell(case.I, case.H, dtype=dtype)
        cell.load_state_dict({name: state[f"{name}_l0"] for name in names})
        modules["nn.GRUCell"] = cell.eval()
    make = {"sequence": _torch_sequence, "step": _torch_step, "block": _torch_frames}[case.kind]
    return [make(problem, torch, name, module, n) for name, module in modules.items() for n in _counts(threads)]


def _torch_context(torch: Any, n: int) -> Callable[[], Any]:
    @contextmanager
    def around() -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(n)
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(before)

    return around


def _torch_sequence(problem: Problem, torch: Any, name: str, gru: Any, n: int) -> Contender:
    x = torch.from_numpy(problem.feeds["x"])
    last: list[Any] = []
    rnn = torch.nn.utils.rnn

    def whole() -> None:
        last[:] = gru(x)

    lengths = torch.from_numpy(problem.feeds["lengths"].astype(np.int64)) if "lengths" in problem.feeds else None

    def ragged() -> None:
        packed, h_n = gru(rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))
        last[:] = rnn.pad_packed_sequence(packed, total_length=x.shape[0])[0], h_n

    def results() -> dict[str, Array]:
        arrays = {key: value.numpy() for key, value in zip(("y", "h_n"), last, strict=True)}
        return _like(problem.expected[0], arrays)

    call, setting = (whole, name) if lengths is None else (ragged, f"{name} on packed sequences")
    return Contender("torch", f"{setting}, {_threads(n)}", call, results, around=_torch_context(torch, n))


def _torch_step(problem: Problem, torch: Any, name: str, module: Any, n: int) -> Contender:
    x, zero = torch.from_numpy(problem.feeds["x"]), torch.from_numpy(problem.state_arrays["h0"])
    if name == "nn.GRUCell":
        x, zero = x[0], zero[0]
    h = zero

    def step_gru() -> None:
        nonlocal h
        h = module(x, h)[1]

    def step_cell() -> None:
        nonlocal h
        h = module(x, h)

    def reset() -> None:
        nonlocal h
        h = zero

    return Contender(
        "torch",
        f"{name}, {_threads(n)}",
        step_cell if name == "nn.GRUCell" else step_gru,
        lambda: _like(problem.expected[0], {"h_n": h.numpy()}),
        reset,
        _torch_context(torch, n),
    )


def _torch_frames(problem: Problem, torch: Any, name: str, module: Any, n: int) -> Contender:
    x, zero = torch.from_numpy(problem.feeds["x"]), torch.from_numpy(problem.state_arrays["h0"])
    cell = name == "nn.GRUCell"
    frames = [x[t] if cell else x[t : t + 1] for t in range(len(x))]
    kept: list[Any] = []

    def call() -> None:
        h = zero[0] if cell else zero
        kept.clear()
        for frame in frames:
            h = module(frame, h) if cell else module(frame, h)[1]
            kept.append(h)

    def results() -> dict[str, Array]:
        y = np.stack([h.numpy() for h in kept])
        return _like(problem.expected[0], {"y": y, "h_n": y[-1]})

    setting = f"once a frame, {name}, {_threads(n)}"
    return Contender("torch", setting, call, results, around=_torch_context(torch, n))


RIVALS: Final[Mapping[str, Rival]] = {
    rival.name: rival
    for rival in (
        Rival("onnxruntime", _onnxruntime, has_isa_switch=False),
        Rival("openvino", _openvino, has_isa_switch=True),
        Rival("torch", _torch, has_isa_switch=True),
    )
}
