"""A process that runs one problem on the fastgru of its own interpreter, and times calls as requested over pipes.

    PYTHON -I worker.py [JSON of sys.path]

The fastgru that it finds may be older or newer than this file, so only its public interface is used here, besides the
standard library and NumPy. A message is a JSON object with named arrays, see `send`.
"""

import gc
import hashlib
import importlib.util
import io
import json
import os
import platform
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["MAGIC", "main", "receive", "send"]

Arrays = dict[str, np.ndarray]

MAGIC = b"fastgru-bench-1\n"
_SIZES = struct.Struct("<QQ")  # of the JSON and of the arrays


def send(stream: BinaryIO, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write `MAGIC`, the sizes of the parts, the header as JSON, and the arrays as an .npz."""
    text, packed = json.dumps(header).encode(), io.BytesIO()
    if arrays:
        np.savez(packed, **arrays)
    stream.write(MAGIC + _SIZES.pack(len(text), packed.tell()) + text + packed.getvalue())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], Arrays] | None:
    """Return the next message, or None at the end of the stream. Raises `ValueError` for data that is not a message,
    and `EOFError` if the stream ends within a message.
    """
    head = stream.read(len(MAGIC))
    if not head:
        return None
    if head != MAGIC:
        raise ValueError(f"expected a message that begins with {MAGIC!r}, got {head!r}")
    text_size, packed_size = _SIZES.unpack(_exactly(stream, _SIZES.size))
    header = json.loads(_exactly(stream, text_size))
    if not packed_size:
        return header, {}
    with np.load(io.BytesIO(_exactly(stream, packed_size)), allow_pickle=False) as archive:
        return header, {name: archive[name] for name in archive.files}


def _exactly(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _beside(name: str) -> Any:
    """Load the file next to this one, because the fastgru in use may have another version of it, or none."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Worker:
    """The problem that was built, and a method for each message, which returns a header and arrays."""

    feeds: Arrays
    calls: Any
    timed: Any

    def hello(self, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        """Answer the first message: find fastgru."""
        import fastgru

        return {"file": fastgru.__file__}, {}

    def about(self, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        """Return versions, and a hash of the sources, which tells two trees of one version apart."""
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
        """Build the problem. arrays: "feed:..." and "zero:..."; also "model", the bytes of a file, if `source` is None,
        or "weight:..." for a layer.
        """
        import fastgru

        def named(prefix: str) -> Arrays:
            return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

        calls = _beside("calls")
        self.timed = calls.timed
        self.feeds = {name: calls.aligned(array) for name, array in named("feed:").items()}
        if way == "layer":
            model: Any = fastgru.GRU.from_torch(named("weight:"), **options)
        else:
            model = fastgru.load(arrays["model"].tobytes() if source is None else source, **options)
        self.calls = calls.prepare(model, way, self.feeds, states, named("zero:"), batch)
        return {}, {}

    def reset(self, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        self.calls.reset()
        return {}, {}

    def call(self, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        """Make one call on `arrays`."""
        for name, array in arrays.items():
            self.feeds[name][...] = array
        self.calls.call()
        return {}, self.calls.results()

    def time(self, arrays: Arrays, size: int, bunches: int, collect: bool) -> tuple[dict[str, Any], Arrays]:
        """Return the nanoseconds of each bunch of calls."""
        (gc.enable if collect else gc.disable)()
        return {}, {"ns": np.array([self.timed(self.calls.call, size) for _ in range(bunches)])}

    def watch(self, arrays: Arrays, what: str, **options: Any) -> tuple[dict[str, Any], Arrays]:
        """Run a function of `fastgru.bench.watch`."""
        return getattr(_beside("watch"), what)(self.calls.call, **options), {}


def main() -> None:
    """Answer messages until the other end is closed."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output that a library prints must not become a message
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
