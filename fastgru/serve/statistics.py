"""What a served model has done, in plain counts; metrics and the protocol's statistics are made of them."""

import time

__all__ = ["Statistics"]


class Statistics:
    """Of one model. Times in nanoseconds.

    batches: {requests of a push: [how many, nanoseconds]}. queue_ns: from requests to their pushes. failed: requests
    that were answered with an error, by its reason, and failed_ns: after how long. nonfinite: answers with a NaN or an
    infinity. last_ns: when the last push ended, by `time.monotonic_ns`; 0 before the first. pending: requests that were
    taken and have no answer yet. times: pushes of less than 2**index nanoseconds, and of at least half as much.
    """

    __slots__ = ("batches", "failed", "failed_ns", "last_ns", "nonfinite", "pending", "queue_ns", "times")

    def __init__(self) -> None:
        self.queue_ns = self.failed_ns = self.nonfinite = self.last_ns = self.pending = 0
        self.times = [0] * 64
        self.failed: dict[str, int] = {}
        self.batches: dict[int, list[int]] = {}

    def fail(self, reason: str, after_ns: int = 0) -> None:
        """A request ended in an error."""
        self.failed[reason] = self.failed.get(reason, 0) + 1
        self.failed_ns += after_ns

    def pushed(self, count: int, began_ns: int, took_ns: int, waited_ns: int) -> None:
        """A push has ended well. waited_ns: for how long its requests did before it, all together."""
        self.queue_ns += waited_ns
        self.last_ns = began_ns + took_ns
        batch = self.batches.get(count)
        if batch is None:
            batch = self.batches[count] = [0, 0]
        batch[0] += 1
        batch[1] += took_ns
        self.times[took_ns.bit_length()] += 1

    def add(self, other: "Statistics") -> None:
        """What another model has done under the same name. What is pending is counted while it is."""
        self.queue_ns += other.queue_ns
        self.failed_ns += other.failed_ns
        self.nonfinite += other.nonfinite
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
        """Pushes."""
        return sum([pushes for pushes, _ in self.batches.values()])

    @property
    def requests(self) -> int:
        """Requests that were answered with numbers."""
        return sum([count * pushes for count, (pushes, _) in self.batches.items()])

    inferences = requests

    @property
    def sizes(self) -> list[int]:
        """Pushes of at most 2**index requests, and of more than half as many."""
        counts = [0] * 64
        for count, (pushes, _) in self.batches.items():
            counts[max(0, count - 1).bit_length()] += pushes
        return counts

    @property
    def cancelled(self) -> int:
        """Requests whose clients had gone before they began."""
        return self.failed.get("cancelled", 0)

    @property
    def compute_ns(self) -> int:
        """Of all pushes."""
        return sum([took for _, took in self.batches.values()])

    @property
    def request_ns(self) -> int:
        """Of all requests that were answered with numbers, from when they came to the end of their pushes."""
        return self.queue_ns + sum([count * took for count, (_, took) in self.batches.items()])

    @property
    def last_ms(self) -> int:
        """When the last push ended, by the wall clock; 0 before the first."""
        return int(time.time() * 1e3 - (time.monotonic_ns() - self.last_ns) / 1e6) if self.last_ns else 0
