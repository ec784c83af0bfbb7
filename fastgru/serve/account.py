"""The number, the bytes and the expected time of the jobs in progress."""

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
    """The jobs in progress of one scheduler.

    load, compute: where jobs run: `load` stands for the event loop, `compute` for the thread beside it. clock: returns
    nanoseconds. jobs: how many are in progress. bytes: the size of their frames, and of those answers whose size is
    known.
    """

    __slots__ = ("_clock", "bytes", "compute", "jobs", "load")

    def __init__(self, load: Load, compute: Compute, clock: Callable[[], int]) -> None:
        self.load, self.compute, self._clock = load, compute, clock
        self.jobs = self.bytes = 0

    def price(self, job: Job, group: Group) -> None:
        """Set the job's group, its expected cost, and whether it runs in the loop or in the thread."""
        job.group = group
        job.cost_ns = group.cost.one_ns + self.load.besides_ns
        job.is_long = group.cost.one_ns > LONG_NS

    def expect(self, job: Job) -> None:
        """Count the job's cost among the work that is expected to run."""
        if job.is_long:
            self.compute.expect(job)
        else:
            self.load.short_ns += job.cost_ns

    def forget(self, job: Job) -> None:
        """Stop counting the job's cost among the expected work."""
        if job.is_long:
            self.compute.forget(job)
        else:
            self.load.short_ns -= job.cost_ns

    def ahead_ns(self, group: Group, now: int) -> float:
        """Return how many nanoseconds a job of this group that is read now has to wait from now on."""
        load = self.load
        if group.cost.one_ns > LONG_NS:
            return self.compute.ahead_ns(group, group.cost.one_ns + load.besides_ns, now)
        return load.short_ns

    def enter(self, job: Job) -> None:
        """Count the job as in progress."""
        self.jobs += 1
        job.served.statistics.pending += 1
        self.bytes += job.bytes

    def leave(self, job: Job) -> None:
        """Stop counting a job that has not run."""
        self.jobs -= 1
        job.served.statistics.pending -= 1
        self.bytes -= job.bytes
        self.forget(job)

    def fail(self, job: Job) -> None:
        """Give a job without outputs an error, if it has none yet, and count the failure."""
        now = self._clock()
        if job.error is None:
            job.error = refusals.not_run(job, now)
        job.served.statistics.fail(job.error.reason, now - job.submitted_ns)

    def drop(self, job: Job, error: ServeError) -> None:
        """Fail a job that will not run, and tell whoever waits for it."""
        job.error = error
        self.fail(job)
        self.leave(job)
        job.done(job)
