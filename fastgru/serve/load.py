"""How busy the event loop is: what is expected of the work that waits in it, and for how long what comes has waited."""

from typing import Final

__all__ = ["Load"]

_SHORT_NS: Final = 50_000  # what came during a turn of the loop that took no longer than this has not waited
_FIRST_BESIDES_NS: Final = 10_000.0
_WEIGHT: Final = 0.05  # of the newest tick in what a job is expected to take besides its push


class Load:
    """short_ns: expected of the jobs that run in the loop. besides_ns: what a job takes besides its push.

    Nobody tells when a request came that is read now. The loop looked for requests at the begin of the turn before this
    one, and found all that had come by then: the request came after that. If the loop has waited for something to come,
    it came just now. Whoever says that something is read (`sees`) has `turns` called at the end of that turn.
    """

    __slots__ = ("_first_ns", "_since_ns", "besides_ns", "short_ns")

    def __init__(self) -> None:
        self.short_ns, self.besides_ns = 0.0, _FIRST_BESIDES_NS
        self._first_ns = 0  # when the first request of this turn was read
        self._since_ns = 0  # when the loop looked before it last did; 0 where it has waited since

    def lag_ns(self, now: int) -> int:
        """For how long what is read now may have waited to be."""
        return now - self._since_ns if self._since_ns else 0

    def sees(self, now: int) -> bool:
        """A request has been read. Whether the loop had nothing to do when it came to that."""
        if self._first_ns:
            return False
        self._first_ns = now
        if self._since_ns:
            return False
        self._since_ns = now
        return True

    def turns(self, now: int) -> None:
        """The loop is about to look what has come."""
        first, self._first_ns = self._first_ns, 0
        self._since_ns = first if now - first > _SHORT_NS else 0

    @property
    def is_behind(self) -> bool:
        """Whether what is read next may have waited."""
        return self._since_ns > 0

    def ran(self, count: int, besides_ns: int) -> None:
        """So many jobs have been answered, and took so long besides their pushes."""
        self.besides_ns += _WEIGHT * (min(besides_ns / count, 10 * self.besides_ns) - self.besides_ns)

    def refuses(self) -> None:
        """What is expected may not keep everything out for ever: where nothing runs, nothing else is learnt."""
        self.besides_ns += _WEIGHT * (min(_FIRST_BESIDES_NS, self.besides_ns) - self.besides_ns)
