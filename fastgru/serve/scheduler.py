"""The scheduler of the jobs of all protocols and sessions: jobs that are ready at the same time run together.

Everything here runs on the thread of the event loop, and so needs no lock. Short jobs run in the loop, in ticks: the
jobs that are ready when a tick begins run together, for at most about a millisecond, and then the loop continues. A
single frame waits for no other. Long jobs run in a thread (`compute`). A session has one job in progress at a time.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from fastgru.serve import refusals
from fastgru.serve.account import Account
from fastgru.serve.admission import Admission
from fastgru.serve.compute import Compute
from fastgru.serve.cost import LONG_NS
from fastgru.serve.errors import ServeError
from fastgru.serve.groups import Group
from fastgru.serve.jobs import Job, answer_each
from fastgru.serve.load import Load
from fastgru.serve.models import Served
from fastgru.serve.order import Order
from fastgru.serve.repository import Repository
from fastgru.serve.resting import Resting
from fastgru.serve.session import Session
from fastgru.serve.steps import kept_answer, record
from fastgru.serve.waiter import Waiter

__all__ = ["Job", "Scheduler"]

_log = logging.getLogger("fastgru.serve")
_ROUSE_S: Final = 0.002


class Scheduler:
    """Runs jobs.

    loop: the event loop, by default the running one, or the one in which `start` is called. max_bytes: the limit for
    the frames of all jobs in progress and their answers. clock: returns nanoseconds, like `time.monotonic_ns`. jobs,
    bytes: see `Account`. admission: says whether a job would be taken, before there is one. resting: the connections
    that are not read for a while.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        max_bytes: int = 256 << 20,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._loop = loop or _running_loop()
        self._clock, self._max_bytes = clock, max_bytes
        self._ready: list[Job] = []
        self._asked = self._running = self._draining = False
        self._load = Load()
        self.resting = Resting(self._load, clock)
        self._gathers_ns = 0  # since when jobs have been ready
        self._compute = Compute(self._loop, self._finished)
        self._account = Account(self._load, self._compute, clock)
        self._order = Order(self._loop, self._account, self._dispatch, clock)
        self.admission = Admission(self._account, max_bytes, clock, self._ask)
        self._idle: asyncio.TimerHandle | None = None
        self._rouses: asyncio.TimerHandle | None = None

    @property
    def jobs(self) -> int:
        return self._account.jobs

    @property
    def bytes(self) -> int:
        return self._account.bytes

    def submit(self, job: Job, *, at_once: bool = False) -> None:
        """Schedule a job. Raises `ServeError` if it is refused; `done` is not called then.

        at_once: a short job may run, and `done` may be called, before this returns, if no other job waits.
        """
        now = job.submitted_ns = self._clock()
        served, session, frames, load, account = job.served, job.session, job.frames, self._load, self._account
        waited = job.waited_ns = max(job.waited_ns, load.lag_ns(now))
        job.deadline_ns -= waited  # the deadline counts from the arrival of the request
        is_alone = load.sees(now) and not self._asked
        if not self._asked:
            self._ask()
        group = served.groups.get(frames[0].shape if len(frames) == 1 else tuple([a.shape for a in frames]))
        if (
            group is None
            or group.cost.one_ns > LONG_NS
            or self._draining
            or job.begins
            or job.step is not None
            or (session is not None and (session.ended or session.early or group.rows != 1))
            or now + load.short_ns + group.cost.one_ns + load.besides_ns > job.deadline_ns
            or account.bytes + job.bytes > self._max_bytes
        ):
            self._submit(job, now)
            return
        job.group, job.is_long = group, False
        job.cost_ns = group.cost.one_ns + load.besides_ns
        load.short_ns += job.cost_ns
        account.jobs += 1
        served.statistics.pending += 1
        account.bytes += job.bytes
        if session is not None:
            session.next += 1
            if session.running:
                session.queue.append(job)
                return
            session.running = True
        if not self._ready:
            self._gathers_ns = now
        self._ready.append(job)
        if at_once and not self._running and (is_alone or load.short_ns > LONG_NS):
            self._run_ready()  # no other request has come, or there is enough work

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._asked = False
        try:
            if self._ready:
                self._run_ready()
        finally:
            self._end_iteration()

    def _end_iteration(self) -> None:
        """End the tick: the loop is about to look for requests."""
        now, load = self._clock(), self._load
        load.end_iteration(now)
        has_woken = bool(self.resting) and self.resting.end_iteration(now)
        if self.resting and self._rouses is None:
            self._rouses = self._loop.call_later(_ROUSE_S, self._rouse)
        if load.is_behind or has_woken:
            self._ask()

    def _rouse(self) -> None:
        """Have a tick run, so that resting connections are read again even while no requests come."""
        self._rouses = None
        self._ask()

    def _submit(self, job: Job, now: int) -> None:
        """Schedule a job with all checks, those for rare cases included."""
        try:
            self._take(job, now)
        except ServeError as error:
            job.served.statistics.fail(error.reason)
            self._order.forget_unbegun(job)
            self._load.refuses()
            raise
        self._account.enter(job)

    def _take(self, job: Job, now: int) -> None:
        session = job.session
        if self._draining:
            raise refusals.draining()
        if session is not None and session.ended and kept_answer(job) is None:
            assert job.served.sessions is not None
            job.served.sessions.revive(session)
            if session.home is not job.served:  # a state only fits its own model
                raise refusals.loaded_anew(job.served.name)
        self.admission.admit(job, now)
        self._account.expect(job)
        try:
            if session is None:
                self._dispatch(job)
            elif job.step is None and not job.begins:
                session.next += 1
                self._order.queue(session, job)
            else:
                self._order.put(session, job)
        except ServeError:
            self._account.forget(job)
            raise

    def _dispatch(self, job: Job) -> None:
        if job.is_long:
            self._compute.submit(job)
            return
        if not self._ready:
            self._gathers_ns = self._clock()
        self._ready.append(job)
        if not self._asked:
            self._ask()

    def move(self, session: Session, to: Served) -> None:
        """Move a session to another model, see `Order.move`."""
        self._order.move(session, to)

    async def run(self, job: Job) -> Job:
        """Submit the job and wait until it is done. Cancelling the wait cancels the job. `job.done` is replaced.

        Raises `ServeError` if the job is refused.
        """
        waiter = Waiter(self._loop)
        job.done = waiter.wake
        self.submit(job)
        try:
            await waiter
        except asyncio.CancelledError:
            job.cancel()
            raise
        return job

    def start(self, models: Repository) -> None:
        """Run on the current loop, and end idle sessions of these models from now on."""
        self._loop = self._compute.loop = self._order.loop = asyncio.get_running_loop()
        self._sweep(models)

    def _sweep(self, models: Repository) -> None:
        self._idle = self._loop.call_later(models.sweep(), self._sweep, models)

    async def drain(self, grace_s: float) -> None:
        """Take no more jobs, wait at most `grace_s` seconds for those in progress, and end the thread."""
        self._draining = True
        self.resting.end()
        if self._rouses is not None:
            self._rouses.cancel()
        until = time.monotonic() + grace_s
        while self.jobs and time.monotonic() < until:
            await asyncio.sleep(0.002)
        if self._idle is not None:
            self._idle.cancel()
        await self._loop.run_in_executor(None, self._compute.close)

    def _run_ready(self) -> None:
        self._running = True
        ready, began, pushed = self._ready, self._clock(), 0
        try:
            if len(ready) == 1:
                jobs = [ready.pop()]
                pushed = self._run(jobs[0].group, jobs, began)
            else:
                jobs = self._due()
                groups: dict[Group, list[Job]] = {}
                for job in jobs:
                    same = groups.get(job.group)
                    if same is None:
                        groups[job.group] = [job]
                    else:
                        same.append(job)
                for group, same in groups.items():
                    pushed += self._run(group, same, self._clock())
        finally:
            self._running = False
            if self._ready and not self._asked:
                self._ask()
        ended = self._clock()
        self._load.ran(len(jobs), ended - self._gathers_ns - pushed)
        self._gathers_ns = ended

    def _due(self) -> list[Job]:
        """Take the jobs that are ready, as many as one tick may run."""
        ready, total = self._ready, 0.0
        for count, job in enumerate(ready):
            total += job.cost_ns
            if total > LONG_NS and count:
                self._ready = ready[count:]
                return ready[:count]
        self._ready = []
        return ready

    def _run(self, group: Group, jobs: list[Job], began: int) -> int:
        """Run jobs of one group and finish them; return how many nanoseconds the push took."""
        for job in jobs:
            if job.cancelled or job.deadline_ns < began:
                dead = [job for job in jobs if job.cancelled or job.deadline_ns < began]
                jobs = [job for job in jobs if not (job.cancelled or job.deadline_ns < began)]
                self._finished(dead, began, 0)
                break
        if not jobs:
            return 0
        answer_each(group, jobs)
        took = self._clock() - began
        self._finished(jobs, began, took)
        return took

    def _finished(self, jobs: list[Job], began_ns: int, took_ns: int) -> None:
        """Finish jobs that have run or never will: start the next jobs of their sessions, and call `done`."""
        account, served = self._account, jobs[0].served
        keeper, statistics = served.keeper, served.statistics
        if keeper is not None:
            record(keeper, jobs)
        count, waited, size, short = 0, 0, 0, 0.0
        for job in jobs:
            size += job.bytes
            if job.is_long:
                self._compute.forget(job)
                self._compute.learn(job, began_ns + took_ns)
            else:
                short += job.cost_ns
            session = job.session
            if job.outputs is not None:
                count += 1
                waited += began_ns - job.submitted_ns
                if session is None:
                    continue
                if not (session.queue or session.ended or job.begins or job.ends):
                    session.step += 1
                    session.moved, session.running, session.last_used_ns = True, False, began_ns
                    continue
            else:
                account.fail(job)
            if session is not None:
                self._order.advance(session, job)
        account.jobs -= len(jobs)
        statistics.pending -= len(jobs)
        account.bytes -= size
        self._load.short_ns -= short
        if count:
            statistics.pushed(count, began_ns, took_ns, waited)
            if count == len(jobs):
                jobs[0].group.cost.measured(count, took_ns)
        for job in jobs:
            try:
                job.done(job)
            except Exception:
                _log.exception("a request could not be answered")


def _running_loop() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
