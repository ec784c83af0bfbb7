"""Long work: a thread beside the event loop, whose native calls leave the loop free.

Jobs of one push run in the order in which they came, several of one group at once. They alternate with the parts of
sequences that are cut, so that neither waits for the other longer than one part takes. A sequence whose deadline is
near goes first.
"""

import os
import sys
import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from time import monotonic_ns
from typing import Final

from fastgru.serve.cost import LONG_NS
from fastgru.serve.groups import Group
from fastgru.serve.jobs import Job, answer_each, answer_in_parts, failure

__all__ = ["Compute"]

_NICE: Final = 15  # of 19; with less, the operating system lets the event loop wait for milliseconds
_LEAST_STRETCH, _MOST_STRETCH, _LEARNT_NS = 1.15, 2.0, 5_000_000.0
_RISES, _FALLS = 0.25, 0.005  # the stretch rises faster than it falls: a late answer is worse than a refusal
_HURRY: Final = 1.25  # a sequence goes first if its deadline is nearer than this many times its remaining work


class Compute:
    """The thread for long jobs, and the estimates of how long they wait.

    finished: called on the thread of `loop` with the jobs that are over, the time at which they began, and the
    nanoseconds that they took. A job that did not run has neither outputs nor an error.

    The thread takes jobs from the left of the two queues; only the thread of the loop uses the other attributes.
    """

    def __init__(self, loop: AbstractEventLoop, finished: Callable[[list[Job], int, int], None]) -> None:
        self.loop, self._finished = loop, finished
        self._whole: deque[Job] = deque()
        self._cut: deque[Job] = deque()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._whole_ns = 0.0  # the expected time of the jobs of one push that are not over
        self._cuts: set[Job] = set()
        # Expected times are multiplied by this: the thread may not have the whole core, and estimates may be too low.
        self._stretch = _LEAST_STRETCH
        self._running = (0, 0.0)  # when the current push began, and its expected time
        self._parts: Iterator[None] | None = None  # runs the parts of the first job in `_cut`
        self._cut_began_ns = self._cut_took_ns = 0
        self._cut_is_next = False
        self._ended_ns = 0  # when the last push ended; 0 if the thread has been idle since

    def submit(self, job: Job) -> None:
        """Give the job to the thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fastgru-compute", daemon=True)
            self._thread.start()
        (self._cut if job.group.parts else self._whole).append(job)
        self._wake.put(True)

    def expect(self, job: Job) -> None:
        """Count a job that is about to be submitted."""
        if job.group.parts:
            self._cuts.add(job)
        else:
            self._whole_ns += job.cost_ns

    def forget(self, job: Job) -> None:
        """Stop counting a job that is over."""
        if job.group.parts:
            self._cuts.discard(job)
        else:
            self._whole_ns -= job.cost_ns

    def ahead_ns(self, group: Group, cost_ns: float, now_ns: int) -> float:
        """Return how many nanoseconds of other work are expected to run before a job of this group and cost is done."""
        whole, cut = self._whole_ns, sum([other.cost_ns for other in self._cuts])
        began, expected = self._running
        gone = min(now_ns - began, expected)
        if group.parts:
            ahead = (2 * cut + cost_ns if whole else cut) - gone
        else:
            ahead = min(whole + cut, 2 * whole + LONG_NS) - gone
        return max(0.0, self._stretch * (ahead + cost_ns) - cost_ns)

    def learn(self, job: Job, now_ns: int) -> None:
        """Adjust the stretch by how much longer a job took than expected; it is done, or its deadline has passed."""
        if job.expected_ns > _LEARNT_NS and not job.cancelled:
            seen = (now_ns - job.submitted_ns) / job.expected_ns * self._stretch
            weight = _RISES if seen > self._stretch else _FALLS
            self._stretch += weight * (min(max(seen, _LEAST_STRETCH), _MOST_STRETCH) - self._stretch)

    def close(self) -> None:
        """End the thread once it has finished its queues."""
        if self._thread is not None:
            self._wake.put(False)
            self._thread = None

    def _work(self) -> None:
        _yield_to_others()
        while self._wake.get():
            self._ended_ns = 0
            while self._whole or self._cut:
                if self._cut and (self._cut_is_next or not self._whole or self._hurries()):
                    self._cut_is_next = False
                    self._go_on()
                else:
                    self._cut_is_next = True
                    self._run_whole()
                self._running = (0, 0.0)

    def _hurries(self) -> bool:
        job = self._cut[0]
        return job.deadline_ns - monotonic_ns() < _HURRY * job.cost_ns

    def _run_whole(self) -> None:
        first = self._whole[0]
        group = first.group
        most = group.cost.most_rows(2 * max(LONG_NS, group.cost.one_ns)) if group.is_ready else 1
        jobs: list[Job] = []
        while self._whole and len(jobs) < most and self._whole[0].group is group:
            jobs.append(self._whole.popleft())
        began = monotonic_ns()
        self._running = (began, sum([job.cost_ns for job in jobs]))
        live = [job for job in jobs if not job.cancelled and job.deadline_ns > began]
        if live and not group.is_ready:
            try:
                group.prepare(first.frames)
            except Exception as error:
                first.error, live = failure(error), []
            self._ended_ns = 0
        if len(live) < len(jobs):
            self._say([job for job in jobs if job not in live], began, 0)
        if live:
            began = monotonic_ns()
            answer_each(group, live)
            ended = monotonic_ns()
            # The time between two pushes of a busy thread counts as part of their cost.
            self._say(live, began, ended - (self._ended_ns or began))
            self._ended_ns = ended

    def _go_on(self) -> None:
        """Run one part of the first sequence."""
        job, now = self._cut[0], monotonic_ns()
        if self._parts is None:
            self._parts, self._cut_began_ns, self._cut_took_ns = answer_in_parts(job.group, job), now, 0
        part_ns = job.group.cost.one_ns / len(job.group.parts)
        self._running = (now, part_ns)
        over = job.cancelled or job.deadline_ns < now
        try:
            if over:
                self._parts.close()  # type: ignore[attr-defined]
            else:
                over = next(self._parts, self) is self
        except Exception as error:
            job.error, over = failure(error), True
        ended = monotonic_ns()
        self._cut_took_ns += ended - (self._ended_ns or now)
        self._ended_ns = ended
        job.cost_ns = max(part_ns, job.cost_ns - part_ns)
        if over:
            self._cut.popleft()
            self._parts = None
            self._say([job], self._cut_began_ns, self._cut_took_ns)

    def _say(self, jobs: list[Job], began_ns: int, took_ns: int) -> None:
        try:
            self.loop.call_soon_threadsafe(self._finished, jobs, began_ns, took_ns)
        except RuntimeError:  # the loop has been closed
            pass


def _yield_to_others() -> None:
    """Lower the priority of this thread, so that the event loop goes first on a shared core.

    Only Linux has priorities of threads.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICE)
