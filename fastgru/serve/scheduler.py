"""What runs when: jobs of all protocols and sessions, all that is ready at once.

Everything here happens on the thread of the event loop, and so needs no lock.
"""

import asyncio
import time
from collections.abc import Callable

import numpy as np

from fastgru.errors import FastGRUError
from fastgru.graph import Array
from fastgru.serve.errors import ServeError
from fastgru.serve.models import Served
from fastgru.serve.sessions import Session

__all__ = ["Job", "Scheduler"]


class Job:
    """One request's work.

    session: None for one without a state. frames: one for each of `served.inputs`, contiguous, as `served.check` takes
    them. deadline_ns: by `time.monotonic_ns`, when its answer is worth nothing any more. done: called once, on the
    thread of the event loop; `outputs` (in the order of `served.outputs`) or `error` is set then.

    Three more are set before it is submitted. begins, ends: reset before it, end the session after it, together with the
    job or not at all. step: run it only as this step of its session, the first being 0.
    """

    __slots__ = (
        "begins", "bytes", "cancelled", "deadline_ns", "done", "ends", "error", "frames", "outputs", "served",
        "session", "step", "submitted_ns",
    )  # fmt: skip

    def __init__(
        self,
        served: Served,
        session: Session | None,
        frames: tuple[Array, ...],
        deadline_ns: int,
        done: Callable[["Job"], None],
    ) -> None:
        self.served, self.session, self.frames, self.deadline_ns, self.done = served, session, frames, deadline_ns, done
        self.begins = self.ends = False
        self.step: int | None = None
        self.outputs: tuple[Array, ...] | None = None
        self.error: ServeError | None = None
        self.cancelled = False
        self.submitted_ns = 0
        self.bytes = sum([frame.nbytes for frame in frames])

    def cancel(self) -> None:
        """Its client has gone: it is not computed, if it has not begun."""
        self.cancelled = True


class Scheduler:
    """Runs jobs. loop: the event loop, by default the running one."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._ready: list[Job] = []
        self._draining = False

    def submit(self, job: Job) -> None:
        """Have it run. Raises `ServeError` where it is refused; `done` is not called then."""
        if self._draining:
            raise ServeError(503, "the server is going down", reason="draining", retry_after_s=1.0)
        session = job.session
        if session is not None and session.ended:
            raise ServeError(410, f"sequence {session.id!r} has ended: {session.ended}", reason="ended")
        job.submitted_ns = time.monotonic_ns()
        if session is not None:
            if session.running:
                session.queue.append(job)
                return
            session.running = True
        if not self._ready:
            self._loop.call_soon(self._tick)
        self._ready.append(job)

    async def run(self, job: Job) -> Job:
        """The same, to be awaited; what cancels the wait cancels the job. `job.done` is replaced."""
        future: asyncio.Future[Job] = self._loop.create_future()

        def done(job: Job) -> None:
            if not future.done():
                future.set_result(job)

        job.done = done
        self.submit(job)
        try:
            return await future
        except asyncio.CancelledError:
            job.cancel()
            raise

    async def drain(self, grace_s: float) -> None:
        """Take no more jobs, and wait for those that there are, at most so long."""
        self._draining = True
        until = time.monotonic() + grace_s
        while self._ready and time.monotonic() < until:
            await asyncio.sleep(0.005)

    def _tick(self) -> None:
        ready, self._ready = self._ready, []
        for job in ready:
            session = job.session
            if not job.cancelled:
                try:
                    self._run(job)
                except FastGRUError as error:
                    job.error = ServeError(400, str(error), reason="shape")
            if session is not None:
                session.running = False
                if session.queue and not session.ended:
                    session.running = True
                    if not self._ready:
                        self._loop.call_soon(self._tick)
                    self._ready.append(session.queue.popleft())
            job.done(job)

    def _run(self, job: Job) -> None:
        session, served = job.session, job.served
        if session is None:
            job.outputs = served.run(job.frames)
            return
        assert served.pool is not None
        assert served.sessions is not None
        if job.begins:
            served.pool.reset(session.handle)
        frames = job.frames[0] if len(job.frames) == 1 else job.frames
        made = served.pool.push_rows(np.array([session.handle]), frames)
        job.outputs = made if isinstance(made, tuple) else (made,)
        session.last_used_ns = time.monotonic_ns()
        if job.ends:
            served.sessions.end(session)
