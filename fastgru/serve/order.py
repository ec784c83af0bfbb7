"""The order of a session's jobs: one at a time, and each as the step that it names, even if others fail.

A client may send steps before earlier ones have arrived, ask for the last step again, and begin a new sequence right
after the end of another. The session may move to another model meanwhile.
"""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Final

from fastgru.errors import StateError
from fastgru.serve import refusals
from fastgru.serve.account import Account
from fastgru.serve.errors import ServeError
from fastgru.serve.jobs import Job, Move
from fastgru.serve.models import Served
from fastgru.serve.moving import move
from fastgru.serve.session import Session
from fastgru.serve.steps import kept_answer

__all__ = ["Order"]

_MOST_EARLY: Final = 64  # jobs of a session that may wait for earlier steps

_log = logging.getLogger("fastgru.serve")


class Order:
    """The order of the jobs of all sessions.

    loop: the event loop, on whose thread everything here runs. account: counts the jobs. dispatch: runs a job. clock:
    returns nanoseconds.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        account: Account,
        dispatch: Callable[[Job], None],
        clock: Callable[[], int],
    ) -> None:
        self.loop, self._account, self._dispatch, self._clock = loop, account, dispatch, clock

    def put(self, session: Session, job: Job) -> None:
        """Queue a job of a session by its step.

        Raises `ServeError`: 400 if the first step is not 0, 409 for a step that has already come, 503 if too many jobs
        wait for earlier steps.
        """
        step = job.step
        if job.begins:
            if step not in (None, 0):
                raise ServeError(
                    400, f"sequence_step is {step}, expected 0 for the first step of a sequence", reason="step"
                )
            session.next = 0
            self._forget_early(session)
        elif step is not None and step != session.next:
            if step == session.next - 1 and job.served.keeper is not None and self._again(session, job):
                return
            if step < session.next or step in session.early or len(session.early) >= _MOST_EARLY:
                raise refusals.out_of_order(session, step, _MOST_EARLY)
            session.early[step], session.forget = job, self._forget_early
            wait = (job.deadline_ns - self._clock()) / 1e9
            job.timer = self.loop.call_later(wait, self._give_up, session, job)
            return
        session.next += 1
        self.queue(session, job)
        while (following := session.early.pop(session.next, None)) is not None:
            session.next += 1
            following.timer.cancel()  # the timer refers to the job and its frames
            self.queue(session, following)

    def _again(self, session: Session, job: Job) -> bool:
        """Answer the last step again for a client that has lost the answer. Returns whether it will get an answer."""
        if session.running:
            session.queue.append(job)
            return True
        job.outputs = kept_answer(job)
        if job.outputs is None:
            return False
        self.loop.call_soon(self._answered, job)
        return True

    def _answered(self, job: Job) -> None:
        """Finish a job that got a kept answer and did not run."""
        self._account.leave(job)
        session = job.session
        if job.ends and session is not None and not (session.ended or session.busy):
            assert job.served.sessions is not None
            job.served.sessions.end(session, "its client has ended it")
        job.done(job)

    def _forget_early(self, session: Session) -> None:
        """Drop the jobs that wait for earlier steps, because the session has ended or begun again."""
        for job in tuple(session.early.values()):
            self._give_up(session, job)

    def _give_up(self, session: Session, job: Job) -> None:
        """Drop a job whose earlier steps have not come in time."""
        if job.step is not None and session.early.get(job.step) is job:
            del session.early[job.step]
            job.timer.cancel()
            self._account.drop(job, refusals.too_early(session, job.step))

    def queue(self, session: Session, job: Job) -> None:
        """Run the job, after the session's jobs that already wait."""
        if session.running:
            session.queue.append(job)
        else:
            session.running = True
            self._dispatch(job)

    def advance(self, session: Session, job: Job) -> None:
        """Update the session after a job of it has run or failed, and start its next job."""
        sessions = job.served.sessions
        assert sessions is not None
        session.running = False
        if session.ended:
            sessions.release(session)
        elif job.error is None:
            session.step = 1 if job.begins else session.step + 1
            session.moved, session.last_used_ns = True, self._clock()
            if job.begins and session.on_end is not None:  # it belonged to a connection, which must not continue it
                taken, session.on_end, session.keep = session.on_end, None, False
                taken("taken")
            if job.ends:
                sessions.end(session, "its client has ended it")
                if session.on_end is not None:
                    session.on_end("closed")
                self._begin_anew(session)
        else:
            session.recount()
            self.forget_unbegun(job)
        while session.queue and not session.running:
            following = session.queue.popleft()
            if isinstance(following, Move):
                if not session.ended:
                    self.move(session, following.to)
            elif following.step is not None and (outputs := kept_answer(following)) is not None:
                following.outputs = outputs
                self.loop.call_soon(self._answered, following)
            elif session.ended:
                self._account.drop(following, refusals.ended(session))
            elif following.step is not None and not following.begins and following.step != session.step:
                session.recount()
                self._account.drop(following, refusals.failed_before(session, following.step))
            else:
                session.running = True
                self._dispatch(following)

    def _begin_anew(self, ended: Session) -> None:
        """Give the jobs that follow a new beginning to a new session; a client may send them without waiting."""
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
            session = sessions.begin(ended.id, ended.key, home=home)  # in the place that was just freed
        except ServeError as error:
            for job in following:
                self._account.drop(job, error)
            return
        for job in following:
            job.session, session.next = session, 1 if job.begins else session.next + 1
            self.queue(session, job)
        for moves in [each for each in ended.queue if isinstance(each, Move)]:
            self.move(session, moves.to)

    def forget_unbegun(self, job: Job) -> None:
        """End a session whose first request has failed."""
        session = job.session
        if (
            session is not None
            and job.begins
            and not (session.moved or session.step or session.stays or session.running or session.ended)
        ):
            assert job.served.sessions is not None
            job.served.sessions.end(session, "its first request failed")

    def move(self, session: Session, to: Served) -> None:
        """Move a session and its waiting jobs to another model, at once or after the job that is running.

        The states, inputs and outputs of both models must agree.
        """
        assert to.sessions is not None
        if session.running:
            session.queue.appendleft(Move(to))
            return
        try:
            move(session, to)
        except (ServeError, StateError) as error:
            _log.warning("sequence %r of %s stays with the model before: %s", session.id, to.name, error)
            return
        for job in (*session.queue, *session.early.values()):
            if isinstance(job, Job):
                self._retarget(job, to)

    def _retarget(self, job: Job, to: Served) -> None:
        self._account.forget(job)
        job.served.statistics.pending -= 1
        job.served = to
        self._account.price(job, to.group(job.frames, True))
        to.statistics.pending += 1
        self._account.expect(job)
