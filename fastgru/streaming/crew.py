"""Threads that run jobs while the caller does something else; where the caller would wait, it runs them itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, Generic, TypeVar

from fastgru.errors import StateError
from fastgru.modules import late
from fastgru.process import EPOCH, process

__all__ = ["Crew", "Job"]

Work = TypeVar("Work")
Own = TypeVar("Own")

_PATIENCE_S = 0.05  # until jobs that were told to stop are told again
_LOOK_S = 1.0  # between two looks for whether this process is a child of the one that has the threads


class Job(Generic[Work]):
    """future: of the thread that may begin it, None where there is none or the caller has taken it."""

    def __init__(self, work: Work, future: Any) -> None:
        self.work, self.future, self._done = work, future, False

    @property
    def done(self) -> bool:
        """Raises what the job has raised on another thread."""
        if self.future is None or not self.future.done():
            return self._done
        self.future.result()
        return True

    def end(self) -> None:
        """It has come to its end on the caller's thread."""
        self._done = True


class Crew(Generic[Work, Own]):
    """run: what a job is, given what its thread has to itself. own: one for each thread, the caller's among them.

    stop: ends jobs that run; it is called again until they have ended. Jobs begin in the order in which they come.
    """

    def __init__(self, run: Callable[[Work, Own], object], own: Sequence[Own], stop: Callable[[], object]) -> None:
        self._run, self._own, self._stop, self._epoch = run, list(own), stop, process[EPOCH]
        self._waiting: deque[Job[Work]] = deque()
        self._begun: list[Any] = []
        self._at_work: set[int] = set()
        self._executor: Any = None
        if len(own) > 1:
            self._executor = late("concurrent.futures").ThreadPoolExecutor(len(own) - 1, "fastgru-predict")

    def __enter__(self) -> Crew[Work, Own]:
        return self

    def __exit__(self, *_: object) -> None:
        """No thread is left. What runs is told to stop; what has not begun is given up."""
        if self._executor is None or process[EPOCH] != self._epoch:
            return
        running = [each for each in self._begun if not each.cancel()]
        self._executor.shutdown(wait=False, cancel_futures=True)
        if get_ident() in self._at_work:  # a generator that the collector of garbage has come upon on such a thread
            return
        while late("concurrent.futures").wait(running, _PATIENCE_S).not_done:
            self._stop()
        self._executor.shutdown()

    def add(self, works: Sequence[Work]) -> list[Job[Work]]:
        """Jobs that begin when a thread has time."""
        jobs = []
        self._begun = [each for each in self._begun if not each.done()]
        for work in works:
            future = None if self._executor is None else self._executor.submit(self._carry_out, work)
            if future is not None:
                self._begun.append(future)
            jobs.append(Job(work, future))
        self._waiting += jobs
        return jobs

    def finish(self, jobs: Sequence[Job[Work]], tell: Callable[[], object]) -> None:
        """Return when these have ended. Meanwhile this thread runs what no other has begun, and calls `tell` each time.

        Raises what a job raises, and `StateError` in a child of the process that has begun.
        """
        while not all(job.done for job in jobs):
            if process[EPOCH] != self._epoch:
                raise StateError(
                    "predict: this process was forked after the call began: call predict again in the child"
                )
            if (job := self._next()) is None:
                left = [job.future for job in jobs if not job.done]
                late("concurrent.futures").wait(left, _LOOK_S)
                continue
            self._carry_out(job.work)
            job.end()
            tell()

    def _next(self) -> Job[Work] | None:
        """One that no other thread has begun, and none will."""
        while self._waiting:
            job = self._waiting.popleft()
            if job.future is None:
                return job
            if job.future.cancel():
                job.future = None
                return job
        return None

    def _carry_out(self, work: Work) -> None:
        own = self._own.pop()
        self._at_work.add(get_ident())
        try:
            self._run(work, own)
        finally:
            self._at_work.discard(get_ident())
            self._own.append(own)
