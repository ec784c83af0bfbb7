"""What is on its way, by jobs, by bytes and by the time that it is expected to take."""

from collections.abc import Callable

from fastgru.serve import refusals
from fastgru.serve.compute import Compute
from fastgru.serve.cost import LONG_NS
from fastgru.serve.errors import ServeError
from fastgru.serve.groups import Group
from fastgru.serve.jobs import Job
from fastgru.serve.load import Load

__all__ = ["Account"]


class Account:
    """Of one scheduler. load, compute: where jobs run, in the loop and beside it. clock: nanoseconds.

    jobs: how many are on their way, and bytes: of their frames and of those answers whose size is known.
    """

    __slots__ = ("_clock", "bytes", "compute", "jobs", "load")

    def __init__(self, load: Load, compute: Compute, clock: Callable[[], int]) -> None:
        self.load, self.compute, self._clock = load, compute, clock
        self.jobs = self.bytes = 0

    def price(self, job: Job, group: Group) -> None:
        """It is to run with this group: what it takes, and where."""
        job.group = group
        job.cost_ns = group.cost.one_ns + self.load.besides_ns
        job.is_long = group.cost.one_ns > LONG_NS

    def expect(self, job: Job) -> None:
        """It is going to run."""
        if job.is_long:
            self.compute.expect(job)
        else:
            self.load.short_ns += job.cost_ns

    def forget(self, job: Job) -> None:
        """It is not expected any more."""
        if job.is_long:
            self.compute.forget(job)
        else:
            self.load.short_ns -= job.cost_ns

    def ahead_ns(self, group: Group, now: int) -> float:
        """What is expected to run before a job of this group that is read now, and since when it may have waited."""
        load = self.load
        if group.cost.one_ns > LONG_NS:
            return self.compute.ahead_ns(group, group.cost.one_ns + load.besides_ns, now) + load.lag_ns(now)
        return load.short_ns + load.lag_ns(now)

    def enter(self, job: Job) -> None:
        """It is on its way from now on."""
        self.jobs += 1
        job.served.statistics.pending += 1
        self.bytes += job.bytes

    def leave(self, job: Job) -> None:
        """It is on its way no more, and has not run."""
        self.jobs -= 1
        job.served.statistics.pending -= 1
        self.bytes -= job.bytes
        self.forget(job)

    def fail(self, job: Job) -> None:
        """It has no outputs: there is an error, or it never ran."""
        now = self._clock()
        if job.error is None:
            job.error = refusals.not_run(job, now)
        job.served.statistics.fail(job.error.reason, now - job.submitted_ns)

    def drop(self, job: Job, error: ServeError) -> None:
        """It will not run, and whoever waits for it is told so."""
        job.error = error
        self.fail(job)
        self.leave(job)
        job.done(job)
