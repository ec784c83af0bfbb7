"""Admission: a request is taken if it can be answered before its deadline, and if memory has room for it."""

from collections.abc import Callable
from typing import Final

from fastgru.serve import refusals
from fastgru.serve.account import Account
from fastgru.serve.errors import ServeError
from fastgru.serve.groups import Group
from fastgru.serve.jobs import Job
from fastgru.serve.models import Served

__all__ = ["Admission"]

_REFUSAL_NS: Final = 500_000  # how long a refusal is reused for similar requests


class Admission:
    """Decides on requests from the jobs in progress.

    max_bytes: the limit for the frames of all jobs and their answers. clock: returns nanoseconds. ask: has the loop
    call the scheduler's tick, so that time is also seen to pass while all requests are refused.
    """

    def __init__(self, account: Account, max_bytes: int, clock: Callable[[], int], ask: Callable[[], None]) -> None:
        self._account, self._max_bytes, self._clock, self._ask = account, max_bytes, clock, ask
        # The last refusal of a request that had just come, and of one that lay unread: group, limit, time and error.
        self._refusals: dict[bool, tuple[object, int, int, ServeError]] = {}

    def refusal(self, served: Served, group: Group, limit_ns: int, waited_ns: int = 0) -> ServeError | None:
        """Return the error that a job of this group would be refused with, or None if it would be taken.

        This is for callers that have no job yet. limit_ns: within how long the job must be answered. waited_ns: how
        long it has waited. Errors that follow each other closely may be the same object.
        """
        account, now = self._account, self._clock()
        load = account.load
        cost_ns = group.cost.one_ns + load.besides_ns
        ahead, waited = account.ahead_ns(group, now), max(waited_ns, load.lag_ns(now))
        if waited + ahead + cost_ns <= limit_ns:
            return None
        load.sees(now)
        load.refuses()
        self._ask()
        last = self._refusals.get(waited_ns > 0)
        if last is None or last[0] is not group or last[1] != limit_ns or now - last[2] > _REFUSAL_NS:
            error = refusals.late(cost_ns, ahead, limit_ns, waited, account.jobs)
            self._refusals[waited_ns > 0] = (group, limit_ns, now, error)
        else:
            error = last[3]
        served.statistics.fail(error.reason)
        return error

    def is_late(self, group: Group, limit_ns: int, waited_ns: int) -> bool:
        """Return whether `refusal` would return an error."""
        account, now = self._account, self._clock()
        load = account.load
        waited = max(waited_ns, load.lag_ns(now))
        return waited + account.ahead_ns(group, now) + group.cost.one_ns + load.besides_ns > limit_ns

    def admit(self, job: Job, now: int) -> None:
        """Set the job's group and cost. Raises `ServeError` if the job is refused: 400, 413, 503."""
        account, most = self._account, self._max_bytes
        load = account.load
        group = job.served.group(job.frames, job.session is not None)
        if group.answer_bytes > most:
            raise refusals.too_long_an_answer(group.answer_bytes, most)
        account.price(job, group)
        ahead = account.compute.ahead_ns(group, job.cost_ns, now) if job.is_long else load.short_ns
        job.expected_ns = ahead + job.cost_ns
        if now + ahead + job.cost_ns > job.deadline_ns:
            self._ask()
            limit_ns = job.deadline_ns - now + job.waited_ns
            raise refusals.late(job.cost_ns, ahead, limit_ns, job.waited_ns, account.jobs)
        job.bytes += group.answer_bytes
        if account.bytes + job.bytes > most:
            raise refusals.too_many_bytes(job, account.bytes, most, ahead)
