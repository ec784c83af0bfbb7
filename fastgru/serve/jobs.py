"""Jobs: the work of each request. A job changes its state completely or not at all."""

import logging
from asyncio import TimerHandle
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from fastgru.errors import FastGRUError, SessionError
from fastgru.graph import Array
from fastgru.serve.errors import ServeError, internal
from fastgru.serve.groups import Group
from fastgru.serve.models import Served
from fastgru.serve.session import Session

__all__ = ["Job", "Move", "answer_each", "answer_in_parts", "failure"]

_NONE: Final = np.empty(0, np.int64)
_log = logging.getLogger("fastgru.serve")


class Job:
    """The work of one request.

    session: None for a request without one. frames: one contiguous array for each of `served.inputs`, as `served.check`
    accepts them. deadline_ns: the time by `time.monotonic_ns` after which the answer is useless. done: called once, on
    the thread of the event loop, when `outputs` (in the order of `served.outputs`) or `error` is set.

    The caller may set four more before submitting the job. begins: reset the session first. ends: end it afterwards.
    Both take effect only if the job succeeds. step: run the job only as this step of its session; the first is 0.
    waited_ns: how long the request may have lain unread; `submit` makes the deadline earlier by that.

    The scheduler sets the rest. group: runs the frames. cost_ns: the expected time of the job. expected_ns: the
    expected time from its arrival until it is done. is_long: whether it runs in the thread, not in the loop.
    submitted_ns: when it arrived. timer: ends its wait for earlier steps.
    """

    __slots__ = (
        "begins", "bytes", "cancelled", "cost_ns", "deadline_ns", "done", "ends", "error", "expected_ns", "frames",
        "group", "is_long", "outputs", "served", "session", "step", "submitted_ns", "timer", "waited_ns",
    )  # fmt: skip

    steps: Final = 1  # how many steps of the session the job is
    group: Group
    is_long: bool
    cost_ns: float
    expected_ns: float
    submitted_ns: int
    timer: TimerHandle

    def __init__(
        self,
        served: Served,
        session: Session | None,
        frames: tuple[Array, ...],
        deadline_ns: int,
        done: Callable[["Job"], None],
    ) -> None:
        self.served, self.session, self.frames, self.deadline_ns, self.done = served, session, frames, deadline_ns, done
        self.begins = self.ends = self.cancelled = False
        self.step: int | None = None
        self.waited_ns = 0
        self.outputs: tuple[Array, ...] | None = None
        self.error: ServeError | None = None
        self.bytes = frames[0].nbytes if len(frames) == 1 else sum([frame.nbytes for frame in frames])

    def cancel(self) -> None:
        """Do not run the job if it has not begun, because its client has gone."""
        self.cancelled = True


class Move:
    """A mark in a session's queue: the session moves to another model after the job before it."""

    __slots__ = ("to",)

    begins: Final = False
    steps: Final = 0

    def __init__(self, to: Served) -> None:
        self.to = to


class _Places:
    """The states of some jobs while they run: in the sessions' own places of the pool, or in borrowed places.

    If all goes well, a borrowed place becomes the session's own.
    """

    __slots__ = ("_borrowed", "_pool", "handles")

    def __init__(self, group: Group, jobs: Sequence[Job], whole: bool) -> None:
        """whole: whether each job is one push, which by itself changes all states or none."""
        self._pool = pool = None if group.is_stateless else jobs[0].served.pool
        self._borrowed: list[tuple[Session | None, int]] = []
        self.handles = _NONE
        if pool is None:
            return
        handles = []
        try:
            for job in jobs:
                session = job.session
                if whole and session is not None and not job.begins:
                    handles.append(session.handle)
                elif session is None:
                    for _ in range(group.rows):
                        handles.append(pool.open())
                        self._borrowed.append((None, handles[-1]))
                elif job.begins and session.moved:
                    handles.append(pool.open())
                    self._borrowed.append((session, handles[-1]))
                elif not whole:
                    handles.append(pool.fork(session.handle))
                    self._borrowed.append((session, handles[-1]))
                else:
                    handles.append(session.handle)
        except BaseException:
            self.give_back(False)
            raise
        self.handles = np.array(handles, np.int64)

    def give_back(self, well: bool) -> None:
        """Free the places that are no longer needed. well: give the sessions the new states, else keep the old ones."""
        for session, handle in self._borrowed:
            assert self._pool is not None
            if session is None or not well:
                self._pool.close(handle)
            else:
                self._pool.close(session.handle)
                session.move_to(handle)


def answer_each(group: Group, jobs: Sequence[Job]) -> None:
    """Set the outputs or the error of each job. A job that fails does not affect the other jobs."""
    job = jobs[0]
    try:
        if len(jobs) == 1 and not group.parts:
            if (session := job.session) is not None and not (job.begins and session.moved):
                job.outputs = group.alone(session.handles, job.frames)
                return
            if group.is_stateless:
                job.outputs = group.alone(_NONE, job.frames)
                _count_rows(group, jobs)
                return
        _answer(group, jobs)
    except Exception as error:
        if len(jobs) == 1:
            job.error = failure(error)
            if job.error.status == 500:
                _log.exception("a request has failed")
        else:
            for job in jobs:
                answer_each(group, [job])


def _answer(group: Group, jobs: Sequence[Job]) -> None:
    """Set the outputs of all jobs. Raises if one fails; all states are then as they were."""
    places, well = _Places(group, jobs, not group.parts), False
    try:
        made = group.push(places.handles, [job.frames for job in jobs])
        well = True
    finally:
        places.give_back(well)
    for job, outputs in zip(jobs, made, strict=True):
        job.outputs = outputs
    _count_rows(group, jobs)


def _count_rows(group: Group, jobs: Sequence[Job]) -> None:
    """Count the rows of jobs that have outputs; the jobs of sessions, which have one row, need not come here."""
    if group.rows != 1:
        jobs[0].served.statistics.more_rows += len(jobs) * (group.rows - 1)


def answer_in_parts(group: Group, job: Job) -> Iterator[None]:
    """Set the outputs of one job, and yield after each part of its sequence. Raises as a push does."""
    places, well = _Places(group, [job], False), False
    try:
        made = []
        for made in group.steps(places.handles, job.frames):
            if not made:
                yield
        job.outputs = made[0]
        _count_rows(group, [job])
        well = True
    finally:
        places.give_back(well)


def failure(error: BaseException) -> ServeError:
    """Return the error that a client gets for an exception of a push."""
    if isinstance(error, ServeError):
        return error
    if isinstance(error, SessionError):
        return ServeError(503, "the server has no place for another session", reason="capacity", retry_after_s=1.0)
    if isinstance(error, MemoryError):
        return ServeError(
            503, "the server does not have enough memory for this request", reason="memory", retry_after_s=1.0
        )
    if isinstance(error, FastGRUError):
        return ServeError(400, str(error), reason="frames")
    return internal()
