"""How busy the event loop is: the expected time of the work in it, and how long new requests have waited unread."""

from typing import Final

__all__ = ["Load"]

_SHORT_NS: Final = 50_000  # requests count as not having waited if the loop's last iteration took no longer than this
_IDLE_NS: Final = 2_000_000  # without a request for so long, the loop is idle
_FIRST_BESIDES_NS: Final = 10_000.0
_LEAST_BESIDES_NS: Final = 1_000.0  # a coarse clock may see none at all
_WEIGHT: Final = 0.05  # the weight of the newest tick in `besides_ns`


class Load:
    """The load of the event loop.

    short_ns: the expected time of the jobs that run in the loop. besides_ns: how long a job takes besides its push.
    is_behind: whether the last iteration took so long that requests which came meanwhile had to wait.

    The time at which a request arrived is not known when it is read. The loop looked for requests at the beginning of
    its previous iteration, and read all that had arrived by then: the request arrived later. If the loop was idle, the
    request has just arrived. A caller of `sees` must have `end_iteration` called at the end of that iteration.
    """

    __slots__ = ("_first_ns", "_read_ns", "_since_ns", "besides_ns", "is_behind", "short_ns")

    def __init__(self) -> None:
        self.short_ns, self.besides_ns = 0.0, _FIRST_BESIDES_NS
        self._first_ns = 0  # when the first request of this iteration was read
        self._read_ns = 0  # when the last iteration that read a request ended
        self.is_behind = False
        self._since_ns = 0  # since when requests may have waited unread; 0 if none can have waited

    def lag_ns(self, now: int) -> int:
        """Return how long a request that is read now may have waited."""
        return now - self._since_ns if self._since_ns else 0

    def sees(self, now: int) -> bool:
        """Note that a request was read; return whether it is the first one that the loop reads after it was idle."""
        if self._first_ns:
            return False
        self._first_ns = now
        if self._since_ns:
            return False
        self._since_ns = now
        return True

    def end_iteration(self, now: int) -> None:
        """Note that this iteration of the loop ends, and that the loop is about to look for requests."""
        first, self._first_ns = self._first_ns, 0
        if first:
            self._read_ns = now
        self._since_ns = first if now - first > _SHORT_NS else 0
        self.is_behind = self._since_ns > 0

    def is_idle(self, now: int) -> bool:
        """Return whether no request has been read for some time."""
        return now - self._read_ns > _IDLE_NS

    def ran(self, count: int, besides_ns: int) -> None:
        """Update the estimate after `count` jobs, which took `besides_ns` in all besides their pushes."""
        newest = min(max(besides_ns / count, _LEAST_BESIDES_NS), 10 * self.besides_ns)
        self.besides_ns += _WEIGHT * (newest - self.besides_ns)

    def refuses(self) -> None:
        """Lower `besides_ns` towards its first value, because a request was refused.

        Otherwise an estimate that is too high could refuse every request for ever, since nothing is learnt then.
        """
        self.besides_ns += _WEIGHT * (min(_FIRST_BESIDES_NS, self.besides_ns) - self.besides_ns)
