"""The rival PyTorch, in eager mode."""

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.contender import Contender, UnableError
from fastgru.bench.problem import Problem
from fastgru.bench.rivals.turns import counts, frames_of, like
from fastgru.terminal import counted

__all__ = ["pytorch"]

Array = NDArray[Any]


def pytorch(problem: Problem, threads: int, *, precision: str = "float32") -> list[Contender]:
    """Return contenders in eager inference mode: torch.nn.GRU, and torch.nn.GRUCell if a call is one frame.

    precision: "float32" for that of the case; "bfloat16" for modules that compute in it, with frames rounded during the
    call; "int8" for dynamically quantised modules with float32 inputs and outputs.
    """
    case, stack = problem.case, problem.stack
    if case is None or stack is None:
        raise UnableError("has no model of this file")
    if not case.reset_after:
        raise UnableError("its GRU applies the reset gate after the product only")
    torch = importlib.import_module("torch")
    dtype = getattr(torch, problem.dtype)
    gru = torch.nn.GRU(case.I, case.H, case.layers, bidirectional=case.bidirectional, dtype=dtype)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    state = {name: torch.from_numpy(array) for name, array in stack.torch_weights.items()}
    gru.load_state_dict(state)
    modules = {"nn.GRU": gru.eval()}
    if case.kind != "sequence":
        cell = torch.nn.GRUCell(case.I, case.H, dtype=dtype)
        cell.load_state_dict({name: state[f"{name}_l0"] for name in names})
        modules["nn.GRUCell"] = cell.eval()
    if precision == "bfloat16":
        modules = {name: module.to(torch.bfloat16) for name, module in modules.items()}
    elif precision == "int8":
        modules = {name: _quantised(torch, module) for name, module in modules.items()}
    make = _torch_sequence if case.kind == "sequence" else _torch_carried
    return [make(problem, torch, name, module, n) for name, module in modules.items() for n in counts(threads)]


def _quantised(torch: Any, module: Any) -> Any:
    with warnings.catch_warnings():  # which warn that they will be removed
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(module, {type(module)}, dtype=torch.qint8)


def _taken(torch: Any, module: Any, x: Any) -> Callable[[], Any]:
    """Return a function that returns x as the module takes it: x itself, or x rounded at each call."""
    first = next(iter(module.parameters()), x)
    return (lambda: x.to(torch.bfloat16)) if first.dtype == torch.bfloat16 else (lambda: x)


def _array(tensor: Any) -> Array:
    array: Array = tensor.float().numpy() if tensor.dtype.itemsize == 2 else tensor.numpy()
    return array


@contextmanager
def _inference(torch: Any, n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def _torch_sequence(problem: Problem, torch: Any, name: str, gru: Any, n: int) -> Contender:
    x = torch.from_numpy(problem.feeds["x"])
    taken = _taken(torch, gru, x)
    last: list[Any] = []
    rnn = torch.nn.utils.rnn

    def whole() -> None:
        last[:] = gru(taken())

    lengths = torch.from_numpy(problem.feeds["lengths"].astype(np.int64)) if "lengths" in problem.feeds else None

    def ragged() -> None:
        packed, h_n = gru(rnn.pack_padded_sequence(taken(), lengths, enforce_sorted=False))
        last[:] = rnn.pad_packed_sequence(packed, total_length=x.shape[0])[0], h_n

    def results() -> dict[str, Array]:
        arrays = {key: _array(value) for key, value in zip(("y", "h_n"), last, strict=True)}
        return like(problem.expected[0], arrays)

    call, setting = (whole, name) if lengths is None else (ragged, f"{name} on packed sequences")
    return Contender("torch", f"{setting}, {counted(n, 'thread')}", call, results, around=partial(_inference, torch, n))


def _torch_carried(problem: Problem, torch: Any, name: str, module: Any, n: int) -> Contender:
    """Return a contender for a step, whose state carries over, or for a block, one frame at a time from zeros."""
    x, zero = torch.from_numpy(problem.feeds["x"]), torch.from_numpy(problem.state_arrays["h0"])
    is_cell = name == "nn.GRUCell"
    frames = [_taken(torch, module, x[t] if is_cell else x[t : t + 1]) for t in range(len(x))]
    taken = frames[0]
    zero = (zero[0] if is_cell else zero).to(taken().dtype)
    kept: list[Any] = []
    h = zero
    setting, around = f"{name}, {counted(n, 'thread')}", partial(_inference, torch, n)

    def step_gru() -> None:
        nonlocal h
        h = module(taken(), h)[1]

    def step_cell() -> None:
        nonlocal h
        h = module(taken(), h)

    def reset() -> None:
        nonlocal h
        h = zero

    def block() -> None:
        state = zero
        kept.clear()
        for frame in frames:
            state = module(frame(), state) if is_cell else module(frame(), state)[1]
            kept.append(state)

    if problem.is_block:
        return Contender(
            "torch",
            f"once a frame, {setting}",
            block,
            lambda: frames_of(problem, [_array(state) for state in kept]),
            around=around,
        )
    call = step_cell if is_cell else step_gru
    return Contender("torch", setting, call, lambda: like(problem.expected[0], {"h_n": _array(h)}), reset, around)
