"""A process that runs one problem on the fastgru of its own interpreter, and times calls as it is told over pipes.

    PYTHON -I worker.py [JSON of sys.path]

The fastgru that it finds may be older or newer than this file: only its public interface is used here, besides the
standard library and NumPy. A message is a JSON object and named arrays, see `send`.
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import platform
import signal
import struct
import sys
import time
from collections.abc import Callable, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

__all__ = ["MAGIC", "WAYS", "Calls", "main", "prepare", "receive", "send", "timed"]

Arrays = dict[str, np.ndarray]

MAGIC = b"fastgru-bench-1\n"
_SIZES = struct.Struct("<QQ")  # of the JSON and of the arrays

# How a model is called, beside "layer", which is a GRU composed in Python. "bound": with arrays for the outputs.
WAYS = ("bound", "push", "call", "run", "layer")


class Calls(NamedTuple):
    """One way of running a problem. results: the outputs of the last call, by name; reset: to a state of zeros."""

    call: Callable[[], object]
    results: Callable[[], Arrays]
    reset: Callable[[], None]


def prepare(model: Any, way: str, feeds: Arrays, states: Mapping[str, str], zeros: Arrays, batch: int) -> Calls:
    """states: input -> output, where each call continues the one before; zeros: the states' first values, by input."""
    if way == "layer":
        return _layer(model, feeds, zeros)
    if way in ("bound", "push") and states:
        return _stream(model.stream(batch, state=dict(states)), feeds, states, bound=way == "bound")
    if way == "bound":
        return _bound(model, feeds)
    return _whole(model, feeds, states, zeros, by_name=way == "run")


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins a cache line, as the outputs do, so that no run is luckier than another."""
    buffer = np.empty(array.nbytes + 64, np.uint8)
    begin = -buffer.ctypes.data % 64
    copy = buffer[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _stream(stream: Any, feeds: Arrays, states: Mapping[str, str], *, bound: bool) -> Calls:
    frames = tuple(feeds[name] for name in stream.inputs)
    push = stream.push
    last = push(*frames)
    several = isinstance(last, tuple)
    out = tuple(_aligned(y) for y in last) if several else _aligned(last)
    stream.reset()

    def call_bound() -> None:
        push(*frames, out=out)

    def call() -> None:
        nonlocal last
        last = push(*frames)

    def results() -> Arrays:
        made = out if bound else last
        after = {states[name]: np.array(array) for name, array in stream.state.items()}
        return {k: np.array(y) for k, y in zip(stream.outputs, made if several else (made,), strict=True)} | after

    return Calls(call_bound if bound else call, results, stream.reset)


def _bound(model: Any, feeds: Arrays) -> Calls:
    named = {spec.name: feeds[spec.name] for spec in model.inputs}
    out = {name: _aligned(y) for name, y in model.run(named).items()}
    run = model.run
    return Calls(lambda: run(named, out=out), lambda: {k: y.copy() for k, y in out.items()}, lambda: None)


def _whole(model: Any, feeds: Arrays, states: Mapping[str, str], zeros: Arrays, *, by_name: bool) -> Calls:
    named = {spec.name: {**feeds, **zeros}[spec.name] for spec in model.inputs}
    outputs = [spec.name for spec in model.outputs]
    places = [(list(named).index(source), outputs.index(target)) for source, target in states.items()]
    inputs, last = list(named.values()), None
    run = model.run

    def call() -> None:
        nonlocal last
        last = model(*inputs)
        for source, target in places:
            inputs[source] = last[target]

    def call_by_name() -> None:
        nonlocal last
        last = run(named)
        for source, target in states.items():
            named[source] = last[target]

    def results() -> Arrays:
        made: Any = last
        if isinstance(made, Mapping):
            return {name: np.array(y) for name, y in made.items()}
        return {n: np.array(y) for n, y in zip(outputs, made if isinstance(made, tuple) else (made,), strict=True)}

    def reset() -> None:
        named.update(zeros)
        inputs[:] = named.values()

    return Calls(call_by_name if by_name else call, results, reset)


def _layer(gru: Any, feeds: Arrays, zeros: Arrays) -> Calls:
    x, y, first = feeds["x"], None, zeros.get("h0")
    h = first

    def whole() -> None:
        nonlocal y, h
        y, h = gru(x)

    def step() -> None:
        nonlocal y, h
        y, h = gru(x, h)

    def reset() -> None:
        nonlocal h
        h = first

    return Calls(whole if first is None else step, lambda: {"y": np.array(y), "h_n": np.array(h)}, reset)


def timed(call: Callable[[], object], count: int) -> int:
    """Nanoseconds of `count` calls."""
    start = time.perf_counter_ns()
    for _ in repeat(None, count):
        call()
    return time.perf_counter_ns() - start


def send(stream: BinaryIO, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """`MAGIC`, the sizes of what follows, the header as JSON, and the arrays as an .npz."""
    text, packed = json.dumps(header).encode(), io.BytesIO()
    if arrays:
        np.savez(packed, **arrays)
    stream.write(MAGIC + _SIZES.pack(len(text), packed.tell()) + text + packed.getvalue())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], Arrays] | None:
    """The next message, None where the stream ends. Raises `ValueError` with what came instead of one."""
    head = stream.read(len(MAGIC))
    if not head:
        return None
    if head != MAGIC:
        raise ValueError(f"expected a message that begins with {MAGIC!r}, got {head!r}")
    text_size, packed_size = _SIZES.unpack(stream.read(_SIZES.size))
    header = json.loads(stream.read(text_size))
    if not packed_size:
        return header, {}
    with np.load(io.BytesIO(stream.read(packed_size)), allow_pickle=False) as archive:
        return header, {name: archive[name] for name in archive.files}


class _Worker:
    """What is built, and the answers to messages: each method is one, and gives a header and arrays."""

    feeds: Arrays
    calls: Calls

    def hello(self, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        import fastgru

        sources = hashlib.sha256()
        for path in sorted(Path(fastgru.__file__).parent.rglob("*.py")):
            sources.update(path.read_bytes())
        return {
            "fastgru": fastgru.__version__,
            "sources": sources.hexdigest()[:10],
            "python": platform.python_version(),
            "numpy": np.__version__,
        }, {}

    def build(
        self, arrays: Arrays, way: str, source: str | None, states: dict[str, str], batch: int, **options: Any
    ) -> Any:
        """arrays: "feed:...", "zero:..."; "model", the bytes of a file where `source` is no path, or "weight:..." for a
        layer."""
        import fastgru

        def named(prefix: str) -> Arrays:
            return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

        self.feeds = {name: _aligned(array) for name, array in named("feed:").items()}
        if way == "layer":
            model: Any = fastgru.GRU.from_torch(named("weight:"), **options)
        else:
            model = fastgru.load(arrays["model"].tobytes() if source is None else source, **options)
        self.calls = prepare(model, way, self.feeds, states, named("zero:"), batch)
        return {}, {}

    def reset(self, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        self.calls.reset()
        return {}, {}

    def call(self, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        """One call on `arrays`."""
        for name, array in arrays.items():
            self.feeds[name][...] = array
        self.calls.call()
        return {}, self.calls.results()

    def time(self, arrays: Arrays, size: int, bunches: int, collect: bool) -> tuple[dict[str, Any], Arrays]:
        """Nanoseconds of each of so many bunches of calls."""
        (gc.enable if collect else gc.disable)()
        return {}, {"ns": np.array([timed(self.calls.call, size) for _ in range(bunches)])}


def main() -> None:
    """Answers messages until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, too, and ends this process
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no message
    if len(sys.argv) > 1:
        sys.path[:] = json.loads(sys.argv[1])
    worker = _Worker()
    while (request := receive(requests)) is not None:
        header, arrays = request
        try:
            reply, made = getattr(worker, header.pop("do"))(arrays, **header)
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            reply, made = {"error": f"{type(error).__name__}: {error}", "kinds": kinds}, {}
        send(replies, reply, made)


if __name__ == "__main__":
    main()
