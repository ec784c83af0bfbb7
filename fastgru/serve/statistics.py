"""What a served model has done, in plain counts; metrics and the protocol's statistics are made of them."""

__all__ = ["Statistics"]


class Statistics:
    """Of one model. Times in nanoseconds.

    requests, failed: that were answered with numbers, and with an error, by its reason. inferences: rows that were
    computed; executions: pushes, each of one row or more. queue_ns, compute_ns: from a request to its push,
    and of the pushes. batches: {rows of a push: [how many, nanoseconds]}. cancelled: jobs whose clients had
    gone before they began.
    nonfinite: answers with a NaN or an infinity. last_ms: when the last request was answered, by the wall clock.
    """

    __slots__ = (
        "batches",
        "cancelled",
        "compute_ns",
        "executions",
        "failed",
        "failed_ns",
        "inferences",
        "last_ms",
        "nonfinite",
        "queue_ns",
        "request_ns",
        "requests",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.request_ns = self.failed_ns = self.inferences = self.executions = 0
        self.queue_ns = self.compute_ns = self.cancelled = self.nonfinite = self.last_ms = 0
        self.failed: dict[str, int] = {}
        self.batches: dict[int, list[int]] = {}

    def fail(self, reason: str, after_ns: int = 0) -> None:
        """A request ended in an error."""
        self.failed[reason] = self.failed.get(reason, 0) + 1
        self.failed_ns += after_ns

    def pushed(self, rows: int, took_ns: int, waited_ns: int) -> None:
        """A push has ended well. waited_ns: for how long its requests did before it, all together."""
        self.executions += 1
        self.inferences += rows
        self.requests += rows
        self.compute_ns += took_ns
        self.queue_ns += waited_ns
        self.request_ns += waited_ns + took_ns * rows
        batch = self.batches.get(rows)
        if batch is None:
            self.batches[rows] = [1, took_ns]
        else:
            batch[0] += 1
            batch[1] += took_ns
