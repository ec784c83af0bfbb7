"""The fastgru of another environment, and ours: each in a process of its own, run by the same script.

    with Sides(Path("/old/bin/python")) as sides:
        contenders = sides.ours(problem, 1), sides.theirs(problem, 1)

Ours has a process of its own, too, so that other contents of a process favour neither side.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import fastgru
from fastgru.bench import worker
from fastgru.bench.contender import NAME, Contender, UnableError
from fastgru.bench.problem import Problem
from fastgru.bench.rivals import Rival
from fastgru.errors import FastGRUError
from fastgru.terminal import counted

__all__ = ["OTHER", "Sides", "Worker", "WorkerError", "about_sides"]

OTHER: Final = "other fastgru"

Array = NDArray[Any]
_HELLO_S: Final = 60.0
_ANSWER_S: Final = 300.0  # kernels may have to be compiled


class WorkerError(FastGRUError):
    """The interpreter of the other side did not answer as expected; the message quotes its answer."""


class Worker:
    """A process of `fastgru.bench.worker`. `close` ends it, whatever it is doing."""

    def __init__(self, python: Path, search: list[str] | None = None, *, answer_s: float = _ANSWER_S) -> None:
        """search: its `sys.path`; None means the one of its interpreter."""
        self.python, self._answer_s = python, answer_s
        command = [str(python), "-I", str(Path(worker.__file__)), *([] if search is None else [json.dumps(search)])]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # its children end with it, and only this process gets Ctrl-C
            )
        except OSError as error:
            self._errors.close()
            raise WorkerError(f"{python}: expected a Python interpreter: {error.strerror}") from None

    def hello(self) -> str:
        """Wait until the process has found its fastgru, and return the file of that."""
        return str(self.ask("hello", within_s=min(_HELLO_S, self._answer_s))[0]["file"])

    def ask(
        self, do: str, arrays: Mapping[str, Array] | None = None, *, within_s: float | None = None, **header: Any
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Send a request and return the answer. Raises `UnableError` for a refused model, otherwise `WorkerError`."""
        limit = within_s or self._answer_s
        process, late = self._process, threading.Event()
        assert process.stdin is not None
        assert process.stdout is not None

        def end() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(limit, end)
        timer.start()
        answer, what = None, ""
        try:
            worker.send(process.stdin, {"do": do, **header}, arrays or {})  # type: ignore[arg-type]
            answer = worker.receive(process.stdout)  # type: ignore[arg-type]
        except (OSError, EOFError):
            pass  # the process has ended
        except ValueError as error:
            what = str(error)
        finally:
            timer.cancel()
        if answer is None:
            raise WorkerError(f"{self.python}: {self._fault(do, what, limit if late.is_set() else None)}")
        reply, made = answer
        if "error" in reply:
            if do == "hello":
                raise WorkerError(f"{self.python}: expected an interpreter that imports fastgru: {reply['error']}")
            refused = "UnsupportedModelError" in reply["kinds"]
            raise (UnableError if refused else WorkerError)(f"{self.python}, {do}: {reply['error']}")
        return reply, made

    def _fault(self, do: str, what: str, limit: float | None) -> str:
        if what:
            return f"no answer to {do!r}: {what}"
        if limit is not None:
            return f"no answer to {do!r} within {limit:g} s"
        status = self._process.wait(10)
        self._errors.seek(0)
        said = " ".join(self._errors.read().decode(errors="replace").strip().splitlines()[-3:]) or "it said nothing"
        return f"the process ended with status {status} before it answered {do!r}: {said}"

    def _kill(self) -> None:
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def close(self) -> None:
        self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(BrokenPipeError):  # data that the process did not read is of no use
                stream.close()  # type: ignore[union-attr]


class Sides(ExitStack):
    """Both processes, which run one problem after another; a context that ends them."""

    def __init__(self, python: Path) -> None:
        super().__init__()
        self._workers: dict[str, Worker] = {}
        try:
            self._workers[NAME] = self.enter_context(closing(Worker(Path(sys.executable), list(sys.path))))
            self._workers[OTHER] = self.enter_context(closing(Worker(python)))
            files = {name: each.hello() for name, each in self._workers.items()}
            if files[NAME] != fastgru.__file__:
                raise WorkerError(
                    f"{sys.executable}: expected a process that imports {fastgru.__file__}, got {files[NAME]}"
                )
        except BaseException:
            self.close()
            raise

    @property
    def about(self) -> dict[str, dict[str, Any]]:
        """Versions and a hash of the sources, for each side."""
        return {name: each.ask("about")[0] for name, each in self._workers.items()}

    def ours(self, problem: Problem, threads: int) -> Contender:
        return _contender(self._workers[NAME], NAME, problem, threads)

    def theirs(self, problem: Problem, threads: int) -> Contender:
        return _contender(self._workers[OTHER], OTHER, problem, threads)

    @property
    def rival(self) -> Rival:
        return _Other(OTHER, NAME, lambda problem, n: [self.theirs(problem, n)], has_isa_switch=True)

    def watch(self, name: str, what: str, **options: Any) -> dict[str, Any]:
        """Return what a function of `fastgru.bench.watch` finds about the problem that the side `name` has built."""
        return self._workers[name].ask("watch", what=what, **options)[0]


def about_sides(python: Path) -> dict[str, dict[str, Any]]:
    """Return what ours and the other fastgru are. Raises `WorkerError` if the interpreter has none."""
    with Sides(python) as sides:
        return sides.about


class _Other(Rival):
    """The other fastgru as a rival. It computes in the precision of ours, and obeys FASTGRU_TARGET by itself."""

    def contenders(self, problem: Problem, threads: int) -> list[Contender]:
        return self.make(problem, threads)

    def precision_of(self, problem: Problem) -> str:
        return problem.precision


def _contender(side: Worker, name: str, problem: Problem, threads: int) -> Contender:
    arrays: dict[str, Array] = {f"feed:{key}": array for key, array in problem.feeds.items()}
    arrays |= {f"zero:{key}": array for key, array in problem.state_arrays.items()}
    options: dict[str, Any] = {"precision": problem.asked, "threads": threads}
    if problem.way == "layer":
        assert problem.stack is not None
        arrays |= {f"weight:{key}": array for key, array in problem.stack.torch_weights.items()}
    else:
        options |= {
            key: str(value.resolve()) if isinstance(value, Path) else value for key, value in problem.options.items()
        }
        if problem.path is None:
            arrays["model"] = np.frombuffer(problem.portable, np.uint8)
    path = None if problem.path is None else str(Path(problem.path).resolve())
    side.ask(
        "build", arrays, way=problem.way, source=path, states=dict(problem.carried), batch=problem.batch_size, **options
    )
    last: dict[str, Array] = {}

    def call() -> None:
        nonlocal last
        last = side.ask("call", problem.feeds)[1]

    def time(calls: int, bunches: int) -> list[int]:
        made = side.ask("time", size=calls, bunches=bunches, collect=gc.isenabled())[1]
        return [int(ns) for ns in made["ns"]]

    return Contender(
        name, counted(threads, "thread"), call, lambda: last, lambda: (side.ask("reset"), None)[1], time=time
    )
