"""How busy the event loop is: what is expected of the work that waits in it, and for how long what comes has waited."""

from typing import Final

__all__ = ["Load"]

_COMPANY_NS: Final = 20_000  # what comes sooner than this behind the last work has come while that was done
_FIRST_BESIDES_NS: Final = 10_000.0
_WEIGHT: Final = 0.05  # of the newest tick in what a job is expected to take besides its push


class Load:
    """short_ns: expected of the jobs that run in the loop. besides_ns: what a job takes besides its push.

    Nobody tells when a request came that is read now. It came after the begin of the turn of the loop before this one,
    or else it would have been read then; and if the loop has had nothing to do meanwhile, it came just now.
    """

    __slots__ = ("_before_ns", "_idle_ns", "_seen_ns", "_turn_ns", "besides_ns", "short_ns")

    def __init__(self) -> None:
        self.short_ns, self.besides_ns = 0.0, _FIRST_BESIDES_NS
        self._seen_ns = 0  # when there was something to do
        self._idle_ns = 0  # until when there was nothing
        self._before_ns = self._turn_ns = 0  # when the turns before this one and this one began

    def lag_ns(self, now: int) -> int:
        """For how long what is read now may have waited to be."""
        if now - self._seen_ns > _COMPANY_NS:
            return 0
        return now - (self._idle_ns if self._idle_ns > self._before_ns else self._before_ns)

    def sees(self, now: int) -> bool:
        """Something has been read. Whether the loop had nothing to do when it came to that."""
        was_idle = now - self._seen_ns > _COMPANY_NS
        if was_idle:
            self._idle_ns = now
        self._seen_ns = now
        return was_idle

    def turns(self, now: int) -> None:
        """The loop is about to look what has come."""
        self._before_ns, self._turn_ns = self._turn_ns, now

    def ran(self, count: int, besides_ns: int, now: int) -> None:
        """So many jobs have been answered, and took so long besides their pushes."""
        self._seen_ns = now
        self.besides_ns += _WEIGHT * (min(besides_ns / count, 10 * self.besides_ns) - self.besides_ns)

    def refuses(self) -> None:
        """What is expected may not keep everything out for ever: where nothing runs, nothing else is learnt."""
        self.besides_ns += _WEIGHT * (min(_FIRST_BESIDES_NS, self.besides_ns) - self.besides_ns)
