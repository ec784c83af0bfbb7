"""Threads that run jobs while the caller does something else. Instead of waiting, the caller runs jobs too."""

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

_PATIENCE_S = 0.05  # between two calls of `stop` while jobs still run
_LOOK_S = 1.0  # between two checks whether this process is a forked child, which has none of the threads


class Job(Generic[Work]):
    """A job. future: the one that runs it on a thread; None if there are no threads or the caller has taken the job."""

    def __init__(self, work: Work, future: Any) -> None:
        self.work, self.future, self._done = work, future, False

    @property
    def done(self) -> bool:
        """Whether the job has ended. Raises what the job has raised on another thread."""
        if self.future is None or not self.future.done():
            return self._done
        self.future.result()
        return True

    def end(self) -> None:
        """Mark the job as ended, on the caller's thread."""
        self._done = True


class Crew(Generic[Work, Own]):
    """Threads for jobs, which begin in the order in which they are added.

    run: runs a job, given the job's work and an item of `own`. own: one item for each thread, the caller's included.
        No two threads use an item at a time.
    stop: ends the jobs that run. It is called repeatedly until they have ended.
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
        """Stop the jobs that run, drop those that have not begun, and end all threads."""
        if self._executor is None or process[EPOCH] != self._epoch:
            return
        running = [each for each in self._begun if not each.cancel()]
        self._executor.shutdown(wait=False, cancel_futures=True)
        if get_ident() in self._at_work:  # the garbage collector closes a generator on one of these threads
            return
        while late("concurrent.futures").wait(running, _PATIENCE_S).not_done:
            self._stop()
        self._executor.shutdown()

    def add(self, works: Sequence[Work]) -> list[Job[Work]]:
        """Return jobs for these works. Each begins when a thread is free."""
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
        """Return when these jobs have ended. Until then, run waiting jobs on this thread, and call `tell` after each.

        Raises what a job raises, and `StateError` if this process was forked after the crew was made.
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
        """Return a job that no other thread has begun or will begin, None if there is none."""
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
