"""What runs when: jobs of all protocols and sessions, all that is ready at once.

Everything here happens on the thread of the event loop, and so needs no lock. Short work runs in the loop, in ticks:
what is ready when one begins goes together, at most about a millisecond of it, and then the loop gets a turn. A lone
frame waits for no other. Long work goes to a thread (`compute`). A session has one job at a time on its way.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from fastgru.errors import StateError
from fastgru.serve import refusals
from fastgru.serve.compute import Compute
from fastgru.serve.cost import LONG_NS
from fastgru.serve.errors import ServeError
from fastgru.serve.groups import Group
from fastgru.serve.jobs import Job, Move, answer_each
from fastgru.serve.load import Load
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.sessions import Session
from fastgru.serve.steps import kept_answer, record
from fastgru.serve.waiter import Waiter

__all__ = ["Job", "Scheduler"]

_REFUSAL_NS: Final = 500_000  # for so long a refusal is that of others like it
_MOST_EARLY: Final = 64  # jobs of a session whose steps have not come

_log = logging.getLogger("fastgru.serve")


class Scheduler:
    """Runs jobs. loop: the event loop, by default the running one, or that in which `start` is called. max_bytes: of
    the frames of all jobs on their way.

    clock: nanoseconds, as `time.monotonic_ns`. jobs: how many are on their way, and how many bytes their frames have.
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
        self._gathers_ns = 0  # since when there is something ready
        self._refusal: tuple[object, int, int, ServeError] | None = None  # the last: of which group and limit, and when
        self.jobs = self.bytes = 0
        self._compute = Compute(self._loop, self._finished)
        self._idle: asyncio.TimerHandle | None = None

    def submit(self, job: Job, *, at_once: bool = False) -> None:
        """Have it run. Raises `ServeError` where it is refused; `done` is not called then.

        at_once: whoever submits it waits for nothing else, so that a short job that has no company may run, and `done`
        be called, before this returns.
        """
        now = job.submitted_ns = self._clock()
        session, frames, load = job.session, job.frames, self._load
        is_idle = load.is_idle(now)
        load.sees(now)
        group = job.served.groups.get(frames[0].shape if len(frames) == 1 else tuple([a.shape for a in frames]))
        if (
            group is None
            or group.cost.one_ns > LONG_NS
            or self._draining
            or job.begins
            or job.step is not None
            or (session is not None and (session.ended or session.early or group.rows != 1))
            or now + load.lag_ns(now) + load.short_ns + group.cost.one_ns + load.besides_ns > job.deadline_ns
            or self.bytes + job.bytes > self._max_bytes
        ):
            self._submit(job, now)
            return
        job.group, job.is_long = group, False
        job.cost_ns = group.cost.one_ns + load.besides_ns
        load.short_ns += job.cost_ns
        self.jobs += 1
        job.served.statistics.pending += 1
        self.bytes += job.bytes
        if session is not None:
            session.next += 1
            if session.running:
                session.queue.append(job)
                return
            session.running = True
        if not self._ready:
            self._gathers_ns = now
        self._ready.append(job)
        if at_once and not self._running and ((is_idle and not self._asked) or load.short_ns > LONG_NS):
            self._run_ready()  # nothing else is to come, or there is enough
        elif not self._asked:
            self._ask()

    def _ask(self) -> None:
        self._asked = True
        self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._asked = False
        self._load.turns(self._clock())
        if self._ready:
            self._run_ready()

    def refusal(self, served: Served, group: Group, limit_ns: int) -> ServeError | None:
        """What a job of this group would be refused with that is to be answered within `limit_ns`, for who asks before
        there is one; None if it would be taken. Errors that follow each other closely may be one object.
        """
        load, now = self._load, self._clock()
        cost_ns = group.cost.one_ns + load.besides_ns
        ahead = self._ahead_ns(group, now)
        if ahead + cost_ns <= limit_ns:
            return None
        load.sees(now)
        load.refuses()
        if not self._asked:
            self._ask()
        found = self._refusal
        if found is None or found[0] is not group or found[1] != limit_ns or now - found[2] > _REFUSAL_NS:
            error = refusals.late(cost_ns, ahead, limit_ns, self.jobs)
            found = self._refusal = (group, limit_ns, now, error)
        served.statistics.fail(found[3].reason)
        return found[3]

    def is_late(self, group: Group, limit_ns: float) -> bool:
        """Whether there would be a `refusal`."""
        return self._ahead_ns(group, self._clock()) + group.cost.one_ns + self._load.besides_ns > limit_ns

    def _ahead_ns(self, group: Group, now: int) -> float:
        """What is expected to run before a job of this group that is read now, and since when it may have waited."""
        load = self._load
        if group.cost.one_ns > LONG_NS:
            return self._compute.ahead_ns(group, group.cost.one_ns + load.besides_ns, now) + load.lag_ns(now)
        return load.short_ns + load.lag_ns(now)

    def _submit(self, job: Job, now: int) -> None:
        """The same, with everything that is rare."""
        try:
            self._take(job, now)
        except ServeError as error:
            job.served.statistics.fail(error.reason)
            self._forget_unbegun(job)
            self._load.refuses()
            raise
        self.jobs += 1
        job.served.statistics.pending += 1
        self.bytes += job.bytes

    def _take(self, job: Job, now: int) -> None:
        session = job.session
        if self._draining:
            raise refusals.draining()
        if session is not None and session.ended and kept_answer(job) is None:
            assert job.served.sessions is not None
            job.served.sessions.revive(session)
        group = job.group = job.served.group(job.frames, session is not None)
        if group.answer_bytes > self._max_bytes:
            raise refusals.too_long_an_answer(group.answer_bytes, self._max_bytes)
        load = self._load
        job.cost_ns = group.cost.one_ns + load.besides_ns
        job.is_long = group.cost.one_ns > LONG_NS
        ahead = self._compute.ahead_ns(group, job.cost_ns, now) if job.is_long else load.short_ns
        job.expected_ns = ahead + job.cost_ns
        ahead += load.lag_ns(now)
        if now + ahead + job.cost_ns > job.deadline_ns:
            if not self._asked:
                self._ask()
            raise refusals.late(job.cost_ns, ahead, job.deadline_ns - now, self.jobs)
        job.bytes += group.answer_bytes
        if self.bytes + job.bytes > self._max_bytes:
            raise refusals.too_many_bytes(job, self.bytes, self._max_bytes, ahead)
        self._expect(job)
        try:
            if session is None:
                self._dispatch(job)
            elif job.step is None and not job.begins:
                session.next += 1
                self._queue(session, job)
            else:
                self._order(session, job)
        except ServeError:
            self._forget_cost(job)
            raise

    def _expect(self, job: Job) -> None:
        if job.is_long:
            self._compute.expect(job)
        else:
            self._load.short_ns += job.cost_ns

    def _forget_cost(self, job: Job) -> None:
        if job.is_long:
            self._compute.forget(job)
        else:
            self._load.short_ns -= job.cost_ns

    def _order(self, session: Session, job: Job) -> None:
        """Put a job among those of its session by its step. Raises `ServeError`: 409 for one that has been, 503."""
        step = job.step
        if job.begins:
            if step not in (None, 0):
                raise ServeError(400, f"sequence_step is {step}, but a sequence begins with step 0", reason="step")
            session.next = 0
            self._forget_early(session)
        elif step is not None and step != session.next:
            if step == session.next - 1 and job.served.keeper is not None and self._again(session, job):
                return
            if step < session.next or step in session.early or len(session.early) >= _MOST_EARLY:
                raise refusals.out_of_order(session, step, _MOST_EARLY)
            session.early[step], session.forget = job, self._forget_early
            wait = (job.deadline_ns - self._clock()) / 1e9
            job.timer = self._loop.call_later(wait, self._give_up, session, job)
            return
        session.next += 1
        self._queue(session, job)
        while (following := session.early.pop(session.next, None)) is not None:
            session.next += 1
            following.timer.cancel()  # which keeps the job and its frames
            self._queue(session, following)

    def _again(self, session: Session, job: Job) -> bool:
        """A client that has lost an answer asks for it once more: whether it gets it, when the step has been."""
        if session.running:
            session.queue.append(job)
            return True
        job.outputs = kept_answer(job)
        if job.outputs is None:
            return False
        self._loop.call_soon(self._answered, job)
        return True

    def _answered(self, job: Job) -> None:
        """It has its outputs, and nothing has run for it."""
        self.jobs -= 1
        job.served.statistics.pending -= 1
        self.bytes -= job.bytes
        self._forget_cost(job)
        session = job.session
        if job.ends and session is not None and not (session.ended or session.busy):
            assert job.served.sessions is not None
            job.served.sessions.end(session, "its client has ended it")
        job.done(job)

    def _forget_early(self, session: Session) -> None:
        """It has ended, or begun anew: steps that have not come belong to the one before."""
        for job in tuple(session.early.values()):
            self._give_up(session, job)

    def _give_up(self, session: Session, job: Job) -> None:
        """The steps before it have not come in time."""
        if job.step is not None and session.early.get(job.step) is job:
            del session.early[job.step]
            job.timer.cancel()
            self._drop(job, refusals.too_early(session, job.step))

    def _queue(self, session: Session, job: Job) -> None:
        if session.running:
            session.queue.append(job)
        else:
            session.running = True
            self._dispatch(job)

    def _dispatch(self, job: Job) -> None:
        if job.is_long:
            self._compute.submit(job)
            return
        if not self._ready:
            self._gathers_ns = self._clock()
        self._ready.append(job)
        if not self._asked:
            self._ask()

    async def run(self, job: Job) -> Job:
        """The same, to be awaited; what cancels the wait cancels the job. `job.done` is replaced."""
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
        """Run on this loop, and end sessions of these models that are idle for too long."""
        self._loop = asyncio.get_running_loop()
        self._compute.loop = self._loop
        self._sweep(models)

    def _sweep(self, models: Repository) -> None:
        self._idle = self._loop.call_later(models.sweep(), self._sweep, models)

    async def drain(self, grace_s: float) -> None:
        """Take no more jobs, wait for those that there are, at most so long, and end the threads."""
        self._draining = True
        until = time.monotonic() + grace_s
        while self.jobs and time.monotonic() < until:
            await asyncio.sleep(0.002)
        if self._idle is not None:
            self._idle.cancel()
        await self._loop.run_in_executor(None, self._compute.close)

    def _run_ready(self) -> None:
        self._running = True
        ready, began, pushed = self._ready, self._clock(), 0
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
        self._running = False
        ended = self._clock()
        self._load.ran(len(jobs), ended - self._gathers_ns - pushed, ended)
        self._gathers_ns = ended
        if self._ready and not self._asked:
            self._ask()

    def _due(self) -> list[Job]:
        """What is ready, as much of it as a tick may take."""
        ready, total = self._ready, 0.0
        for count, job in enumerate(ready):
            total += job.cost_ns
            if total > LONG_NS and count:
                self._ready = ready[count:]
                return ready[:count]
        self._ready = []
        return ready

    def _run(self, group: Group, jobs: list[Job], began: int) -> int:
        """Run jobs of a group, and say so; how many nanoseconds the push took."""
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
        """These have run, or never will: let the next of their sessions go, and tell whoever waits."""
        keeper = jobs[0].served.keeper
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
                self._fail(job)
            if session is not None:
                self._advance(session, job)
        self.jobs -= len(jobs)
        jobs[0].served.statistics.pending -= len(jobs)
        self.bytes -= size
        self._load.short_ns -= short
        if count:
            jobs[0].served.statistics.pushed(count, began_ns, took_ns, waited)
            if count == len(jobs):
                jobs[0].group.cost.measured(count, took_ns)
        for job in jobs:
            try:
                job.done(job)
            except Exception:
                _log.exception("a request could not be answered")

    def _fail(self, job: Job) -> None:
        """It has no outputs: there is an error, or it never ran."""
        now = self._clock()
        if job.error is None:
            job.error = refusals.not_run(job, now)
        job.served.statistics.fail(job.error.reason, now - job.submitted_ns)

    def _drop(self, job: Job, error: ServeError) -> None:
        """It will not run, and was not on its way."""
        job.error = error
        self._fail(job)
        self.jobs -= 1
        job.served.statistics.pending -= 1
        self.bytes -= job.bytes
        self._forget_cost(job)
        job.done(job)

    def _advance(self, session: Session, job: Job) -> None:
        """A job of this session has been on its way."""
        sessions = job.served.sessions
        assert sessions is not None
        session.running = False
        if session.ended:
            sessions.release(session)
        elif job.error is None:
            session.step = 1 if job.begins else session.step + 1
            session.moved, session.last_used_ns = True, self._clock()
            if job.begins and session.on_end is not None:  # a connection has had it: it is not to go on from here
                taken, session.on_end, session.keep = session.on_end, None, False
                taken("taken")
            if job.ends:
                sessions.end(session, "its client has ended it")
                if session.on_end is not None:
                    session.on_end("closed")
                self._begin_anew(session)
        else:
            session.recount()
            self._forget_unbegun(job)
        while session.queue and not session.running:
            following = session.queue.popleft()
            if isinstance(following, Move):
                if not session.ended:
                    self.move(session, following.to)
            elif (outputs := kept_answer(following)) is not None:
                following.outputs = outputs
                self._loop.call_soon(self._answered, following)
            elif session.ended:
                self._drop(following, refusals.ended(session))
            elif following.step is not None and not following.begins and following.step != session.step:
                session.recount()
                self._drop(following, refusals.failed_before(session, following.step))
            else:
                session.running = True
                self._dispatch(following)

    def _begin_anew(self, ended: Session) -> None:
        """A client may begin a sequence behind its end, without waiting: what comes with that belongs to another."""
        at = next((i for i, job in enumerate(ended.queue) if job.begins), len(ended.queue))
        following = [*ended.queue][at:]
        for _ in following:
            ended.queue.pop()
        if not following:
            return
        sessions = following[0].served.sessions
        assert sessions is not None
        home = following[0].served
        try:
            session = sessions.begin(ended.id, ended.key, home=home)  # in the place that has just become free
        except ServeError as error:
            for job in following:
                self._drop(job, error)
            return
        for job in following:
            job.session, session.next = session, 1 if job.begins else session.next + 1
            self._queue(session, job)
        for move in [each for each in ended.queue if isinstance(each, Move)]:
            self.move(session, move.to)

    def move(self, session: Session, to: Served) -> None:
        """Have a session, and what waits for it, go on with another model: at once, or after the job on its way.

        The states, inputs and outputs of both agree.
        """
        assert to.sessions is not None
        if session.running:
            session.queue.appendleft(Move(to))
            return
        try:
            to.sessions.move(session, to)
        except (ServeError, StateError) as error:
            _log.warning("sequence %r of %s stays with the model before: %s", session.id, to.name, error)
            return
        for job in (*session.queue, *session.early.values()):
            if isinstance(job, Job):
                self._retarget(job, to)

    def _retarget(self, job: Job, to: Served) -> None:
        self._forget_cost(job)
        job.served.statistics.pending -= 1
        job.served = to
        job.group = group = to.group(job.frames, True)
        job.cost_ns = group.cost.one_ns + self._load.besides_ns
        job.is_long = group.cost.one_ns > LONG_NS
        to.statistics.pending += 1
        self._expect(job)

    def _forget_unbegun(self, job: Job) -> None:
        """A session whose first request has failed is not there."""
        session = job.session
        if (
            session is not None
            and job.begins
            and not (session.moved or session.step or session.stays or session.running or session.ended)
        ):
            assert job.served.sessions is not None
            job.served.sessions.end(session, "its first request failed")


def _running_loop() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
