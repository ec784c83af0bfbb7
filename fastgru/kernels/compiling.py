"""Compiling the kernels that no cache has: two at a time, in this process and in a second one, if a core is free.

    ensure([find("linear", "float32"), ...], soon=[find("look"), ...])

All kernels of a program are known when it is planned, so the two processes can divide them: this one begins at the
front of the list, the other at the back. The other sends what it has compiled through a pipe, so no folder has to be
writable. It imports Numba while this one does, waits some seconds for more work, and ends. If the second process cannot
start, or fails, this one compiles everything: errors of a kernel are raised in this process only.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Final

from fastgru.kernels.table import Native, builds_only, compiled, find, import_kernels
from fastgru.modules import late
from fastgru.process import EPOCH, lock, process, to_the_end, undisturbed
from fastgru.simd import cache
from fastgru.simd.target import TARGET

__all__ = ["ensure", "serve"]

_IDLE_S: Final = 3.0
_TICK_S: Final = 0.002
_SIZE: Final = 8  # bytes of the length that precedes each entry

_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from fastgru.kernels.compiling import serve; serve()"
)


class _Beside:
    """The second process.

    pending: the natives that it may take, from the right. Each process takes one with a single, atomic operation.
    """

    def __init__(self) -> None:
        import subprocess

        settings = {**os.environ, "FASTGRU_TARGET": TARGET.name, "FASTGRU_QUIET": "1"}
        self.epoch = process[EPOCH]
        self.over = False
        self.pending: deque[Native] = deque()
        self._given: set[Native] = set()
        self._done: dict[Native, cache.Entry | None] = {}
        self._process = to_the_end(
            subprocess.Popen(
                [sys.executable, "-c", _START, late("json").dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=settings,
                start_new_session=True,  # a Ctrl-C goes to this process only
            )
        )
        threading.Thread(target=self._converse, name="fastgru-compiler-beside", daemon=True).start()

    def give(self, natives: Iterable[Native], *, last: bool = False) -> None:
        """Give the second process natives that it does not have yet. last: True to compile them after all others."""
        new = [native for native in natives if native not in self._given]
        self._given.update(new)
        (self.pending.extendleft if last else self.pending.extend)(new)

    def take_back(self, native: Native) -> bool:
        """Return whether this process must compile a native, because the other has not begun, and take it back."""
        try:
            self.pending.remove(native)
        except ValueError:
            return native not in self._given
        self._given.discard(native)
        return True

    def done(self, native: Native) -> bool:
        """Return whether the second process has finished a native, with or without success."""
        return native in self._done or self.over

    def result(self, native: Native) -> cache.Entry | None:
        """Wait until a native is done, and return its entry; None if the second process could not compile it."""
        while not self.done(native):
            time.sleep(_TICK_S)
        return self._done.get(native)

    def _converse(self) -> None:
        inward, outward = self._process.stdout, self._process.stdin
        assert inward is not None
        assert outward is not None
        try:
            while (native := self._next()) is not None:
                outward.write(late("json").dumps([native.op, native.dtype]).encode() + b"\n")
                outward.flush()
                size = inward.read(_SIZE)
                if len(size) < _SIZE:
                    break
                self._done[native] = cache.unpacked(native.name, inward.read(int.from_bytes(size, "little")))
            outward.write(b"\n")
            outward.close()
        except (OSError, ValueError):
            pass
        finally:
            self.over = True
            inward.close()
            self._process.wait()

    def _next(self) -> Native | None:
        waiting_since = time.monotonic()
        while time.monotonic() - waiting_since < _IDLE_S:
            try:
                return self.pending.pop()
            except IndexError:
                time.sleep(_TICK_S)
        return None


_beside: _Beside | None = None


def _helper(*, start: bool) -> _Beside | None:
    """Return the second process if it runs; otherwise start it if `start` and if that is possible, or return None."""
    global _beside
    if _beside is not None and (_beside.over or _beside.epoch != process[EPOCH]):
        _beside = None
    if _beside is None and start and _can_start():
        try:
            _beside = _Beside()
        except (ImportError, OSError, RuntimeError, ValueError):  # the system allows no further process, or none at all
            return None
    return _beside


def _can_start() -> bool:
    """Return whether there is a second core, and this program is Python itself: another would not take `-c`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = os.path.basename(sys.executable or "").lower()
    return cores > 1 and name.startswith("python") and not getattr(sys, "frozen", False)


def ensure(natives: Iterable[Native], dtype: str = "", soon: Iterable[Native] = ()) -> None:
    """Load or compile each of these natives, and the microkernels of `dtype` that they call.

    soon: natives that will be needed later, which the second process may compile meanwhile. In a process that only
    builds, this does nothing.
    """
    if builds_only():
        return
    with lock:
        wanted = _with_microkernels(natives, dtype)
        missing = [native for native in wanted if native.from_cache() is None]
        if missing:
            later = [native for native in soon if native not in missing and native.from_cache() is None]
            undisturbed(partial(_compile, missing, dtype, later))


def _with_microkernels(natives: Iterable[Native], dtype: str) -> list[Native]:
    """Return the natives and their microkernels, each once.

    The microkernels of a native without an entry are added later, when its recipe is known.
    """
    found = dict.fromkeys(natives)
    for native in [*found]:
        entry = native.from_cache()
        found |= dict.fromkeys(find(name, dtype) for name in (entry.microkernels if entry else ()))
    return [*found]


def _compile(missing: list[Native], dtype: str, soon: list[Native]) -> None:
    # A process starts in the time that this one takes to import Numba. After that, it does not pay for one kernel.
    first = "numba" not in sys.modules
    beside = _helper(start=first)
    import_kernels()
    for native in [*missing]:
        called = (find(name, dtype) for name in native.recipe.microkernels)
        missing += [each for each in called if each.from_cache() is None and each not in missing]
    if not first and len(missing) > 1:
        beside = _helper(start=True)
    if beside is not None:
        beside.give(soon, last=True)
        beside.give(missing[:0:-1])
    theirs, count = [], 0
    with cache.compilations(len(missing)) as progress:
        for native in missing:
            if beside is not None and not beside.take_back(native):
                theirs.append(native)
                continue
            native.accept(compiled(native))
            count += 1
            progress.reached(count + sum(beside.done(each) for each in theirs) if beside is not None else count)
        for native in theirs:
            entry = beside.result(native) if beside is not None else None
            native.accept(compiled(native) if entry is None else entry)
            count += 1
            progress.reached(count)


def serve() -> None:
    """Run the second process: for each line of stdin write an entry, preceded by its length; length 0 if it failed."""
    outward = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        if not line.strip():
            break
        op, dtype = late("json").loads(line)
        try:
            native = Native(op, dtype)
            data = cache.packed(native.name, compiled(native))
        except Exception:
            data = b""
        outward.write(len(data).to_bytes(_SIZE, "little") + data)
        outward.flush()
    os._exit(0)  # skip the clean-up of Numba and LLVM
