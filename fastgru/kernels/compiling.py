"""What nothing has kept is compiled two at a time: here, and by a process beside this one where there is a core for it.

    ensure([find("linear", "float32"), ...], soon=[find("look"), ...])

All that a program needs is known when it is planned, so that both can share it out: this process begins at the front,
the other at the back, and what it has compiled comes through its pipe, so no folder has to be writable. It imports
Numba while this one does, waits some seconds for more, and ends. Where there can be no such process, or it fails, this
one compiles everything: an error of a kernel is raised here and nowhere else.
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
_SIZE: Final = 8  # bytes, of the length before each entry

_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from fastgru.kernels.compiling import serve; serve()"
)


class _Beside:
    """The process beside this one. `pending` is what it may take, from the right; both take by single steps."""

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
                start_new_session=True,  # a Ctrl-C is this process's alone to handle
            )
        )
        threading.Thread(target=self._converse, name="fastgru-compiler-beside", daemon=True).start()

    def give(self, natives: Iterable[Native], *, last: bool = False) -> None:
        """Let it have these, which it has not; last: after all others."""
        new = [native for native in natives if native not in self._given]
        self._given.update(new)
        (self.pending.extendleft if last else self.pending.extend)(new)

    def take_back(self, native: Native) -> bool:
        """Whether this process has to compile it: the other has not begun."""
        try:
            self.pending.remove(native)
        except ValueError:
            return native not in self._given
        self._given.discard(native)
        return True

    def done(self, native: Native) -> bool:
        """Whether it is over with it, for better or worse."""
        return native in self._done or self.over

    def result(self, native: Native) -> cache.Entry | None:
        """What it has compiled, when it is done; None where it could not."""
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
    """The process beside this one, if there is one, or there can be and has to be."""
    global _beside
    if _beside is not None and (_beside.over or _beside.epoch != process[EPOCH]):
        _beside = None
    if _beside is None and start and _can_start():
        try:
            _beside = _Beside()
        except (ImportError, OSError, RuntimeError, ValueError):  # no more of them, or none at all here
            return None
    return _beside


def _can_start() -> bool:
    """Whether there is a second core, and this program is Python itself: another would not run what it is given."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = os.path.basename(sys.executable or "").lower()
    return cores > 1 and name.startswith("python") and not getattr(sys, "frozen", False)


def ensure(natives: Iterable[Native], dtype: str = "", soon: Iterable[Native] = ()) -> None:
    """Have each of these, and the microkernels of `dtype` that they call, found or compiled.

    soon: others that will be asked for, which the process beside this one may compile meanwhile. A process that only
    builds does nothing here.
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
    """Each once; of those that are not compiled, microkernels are known when their recipes are."""
    found = dict.fromkeys(natives)
    for native in [*found]:
        entry = native.from_cache()
        found |= dict.fromkeys(find(name, dtype) for name in (entry.microkernels if entry else ()))
    return [*found]


def _compile(missing: list[Native], dtype: str, soon: list[Native]) -> None:
    # A process takes as long to start as this one to import Numba: later, a single kernel is quicker without.
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
    """The life of the process beside another: for each line a kernel, behind its length; nothing of one that fails."""
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
    os._exit(0)  # nothing of what Numba and LLVM would take down is needed
