"""Plain counts of what a served model has done, from which metrics and the protocol's statistics are made."""

import time

__all__ = ["Statistics"]


class Statistics:
    """The counts of one model. Times are in nanoseconds.

    batches: {requests of a push: [number of pushes, their time]}. queue_ns: the total time from the arrival of requests
    to their pushes. failed: requests that were answered with an error, by reason. failed_ns: the total time until these
    answers. nonfinite: answers with a NaN or an infinity. last_ns: when the last push ended, by `time.monotonic_ns`; 0
    before the first. more_rows: rows of answered requests, without the first row of each. pending: accepted requests
    without an answer. times: how many pushes took less than 2**index nanoseconds, and at least half of that.
    """

    __slots__ = ("batches", "failed", "failed_ns", "last_ns", "more_rows", "nonfinite", "pending", "queue_ns", "times")

    def __init__(self) -> None:
        self.queue_ns = self.failed_ns = self.nonfinite = self.last_ns = self.pending = self.more_rows = 0
        self.times = [0] * 64
        self.failed: dict[str, int] = {}
        self.batches: dict[int, list[int]] = {}

    def fail(self, reason: str, after_ns: int = 0) -> None:
        """Count a request that ended with an error."""
        self.failed[reason] = self.failed.get(reason, 0) + 1
        self.failed_ns += after_ns

    def pushed(self, count: int, began_ns: int, took_ns: int, waited_ns: int) -> None:
        """Count a push of `count` requests that succeeded. waited_ns: how long its requests had waited, summed up."""
        self.queue_ns += waited_ns
        self.last_ns = began_ns + took_ns
        batch = self.batches.get(count)
        if batch is None:
            batch = self.batches[count] = [0, 0]
        batch[0] += 1
        batch[1] += took_ns
        self.times[took_ns.bit_length()] += 1

    def add(self, other: "Statistics") -> None:
        """Add the counts of another model of the same name, with its pending requests."""
        self.queue_ns += other.queue_ns
        self.failed_ns += other.failed_ns
        self.nonfinite += other.nonfinite
        self.more_rows += other.more_rows
        self.pending += other.pending
        self.last_ns = max(self.last_ns, other.last_ns)
        self.times = [a + b for a, b in zip(self.times, other.times, strict=True)]
        for reason, count in other.failed.items():
            self.failed[reason] = self.failed.get(reason, 0) + count
        for rows, (pushes, took) in other.batches.items():
            batch = self.batches.setdefault(rows, [0, 0])
            batch[0] += pushes
            batch[1] += took

    @property
    def executions(self) -> int:
        """The number of pushes."""
        return sum([pushes for pushes, _ in self.batches.values()])

    @property
    def requests(self) -> int:
        """The number of requests that were answered with numbers."""
        return sum([count * pushes for count, (pushes, _) in self.batches.items()])

    @property
    def inferences(self) -> int:
        """The number of rows of these requests."""
        return self.requests + self.more_rows

    @property
    def sizes(self) -> list[int]:
        """How many pushes had at most 2**index requests, and more than half as many."""
        counts = [0] * 64
        for count, (pushes, _) in self.batches.items():
            counts[max(0, count - 1).bit_length()] += pushes
        return counts

    @property
    def cancelled(self) -> int:
        """The number of requests whose clients had gone before they ran."""
        return self.failed.get("cancelled", 0)

    @property
    def compute_ns(self) -> int:
        """The time of all pushes."""
        return sum([took for _, took in self.batches.values()])

    @property
    def request_ns(self) -> int:
        """The time from arrival to the end of the push, summed up over all requests that were answered with numbers."""
        return self.queue_ns + sum([count * took for count, (_, took) in self.batches.items()])

    @property
    def last_ms(self) -> int:
        """When the last push ended, in milliseconds of the wall clock; 0 before the first."""
        return int(time.time() * 1e3 - (time.monotonic_ns() - self.last_ns) / 1e6) if self.last_ns else 0
