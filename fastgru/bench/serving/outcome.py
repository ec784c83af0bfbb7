"""The result of a load: every frame that was due is in one of the counts, and only answers have latencies."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import field
from math import ceil
from typing import Any, Final

import numpy as np

from fastgru.records import dataclass

__all__ = ["LATE_MS", "PERCENTILES", "Outcome", "percentile"]

Array = np.ndarray[Any, Any]

LATE_MS: Final = 10.0
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
_REASON: Final = re.compile(rb'"reason": *"(\w+)"')
_REFUSALS: Final = (429, 503)
_EXAMPLE: Final = 300  # characters of an error to keep
# The client may be the limit if its loop was late by this much and by this share of the latencies' p99, or if it was
# busy nearly all the time.
_LAG_NS: Final = 500_000
_SHARE: Final = 0.2
_BUSY: Final = 0.9


def _none() -> Array:
    return np.zeros(0, np.int64)


def percentile(values: Array, percent: float) -> float | None:
    """Return the smallest value that at least `percent` of the values do not exceed; None if there are too few."""
    if len(values) * (100 - percent) < 100 - 1e-6:
        return None if percent < 100 or not len(values) else float(values.max())
    place = max(0, ceil(round(len(values) * percent / 100, 6)) - 1)
    return float(np.partition(values, place)[place])


@dataclass
class Outcome:
    """Times are nanoseconds, and latencies count from when a frame was due.

    connections, opened, broken: the number of connections at once, how often one was opened, and those that were lost
    or could not be opened, by kind.
    due: frames that were due. latencies: of the frames that were answered with numbers. refusals: the same for the
        others.
    statuses: of all answers; -1 counts the frames of lost connections. reasons: of refusals, which are answers of 503
    and 429. errors: all other answers and lost connections, by kind, with an example each. lost: frames without an
    answer at the end. skipped: frames due while their connection was busy, in a run that drops them. events: unasked
    messages of the server.

    behind: how long after it was due a frame was taken up. busy: how long each iteration of the loop took. Both are the
    client's own share. client_cpu_s: the CPU time of the loop's thread. stopped: whether the run was ended early.
    """

    seconds: float = 0.0
    due: int = 0
    sent: int = 0
    lost: int = 0
    skipped: int = 0
    connections: int = 0
    opened: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    latencies: Array = field(default_factory=_none)
    refusals: Array = field(default_factory=_none)
    behind: Array = field(default_factory=_none)
    busy: Array = field(default_factory=_none)
    client_cpu_s: float = 0.0
    stopped: bool = False

    @property
    def answered(self) -> int:
        return len(self.latencies)

    @property
    def refused(self) -> int:
        return sum(self.statuses[status] for status in _REFUSALS)

    @property
    def failed(self) -> int:
        """Frames that ended in an error, and those without an answer unless the run was stopped."""
        return sum(self.errors.values()) + (0 if self.stopped else self.lost)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def us(self, percent: float) -> float:
        """Return a percentile of the latencies, in microseconds; NaN without latencies."""
        return float(np.percentile(self.latencies, percent)) / 1e3 if self.answered else float("nan")

    def late_by(self, milliseconds: float) -> int:
        """Return the number of frames without an answer so long after they were due, for whatever reason."""
        lost = 0 if self.stopped else self.lost
        return (
            int((self.latencies > 1e6 * milliseconds).sum()) + len(self.refusals) + self._untold + lost + self.skipped
        )

    @property
    def late(self) -> int:
        return self.late_by(LATE_MS)

    @property
    def _untold(self) -> int:
        """Frames that were lost with their connections."""
        return self.statuses[-1]

    def holds(self, milliseconds: float) -> bool:
        """Return True if 99 of 100 frames were answered with numbers within so long of when they were due."""
        return self.answered > 0 and self.late_by(milliseconds) * 100 <= self.due

    @property
    def lag_ns(self) -> float:
        """By how much the client's loop was late, for at least one in a hundred frames."""
        return max((float(np.percentile(each, 99)) for each in (self.behind, self.busy) if len(each)), default=0.0)

    @property
    def client_share(self) -> float:
        """The share of a core that the client used during the run."""
        return self.client_cpu_s / self.seconds if self.seconds else 0.0

    @property
    def client_limits(self) -> str:
        """Why the client may limit the figures instead of the server; "" if it does not."""
        found = []
        if self.client_share > _BUSY:
            found.append(f"its loop took {100 * self.client_share:.0f} % of a core")
        if self.answered and self.lag_ns > max(_LAG_NS, _SHARE * float(np.percentile(self.latencies, 99))):
            found.append(f"its loop was {self.lag_ns / 1e6:.1f} ms late at p99")
        return " and ".join(found)

    def refuse(self, status: int, body: bytes) -> None:
        """Count an answer without numbers."""
        self.statuses[status] += 1
        found = _REASON.search(body)
        reason = found[1].decode() if found else ""
        if status in _REFUSALS:
            self.reasons[reason or str(status)] += 1
        else:
            kind = f"{status} {reason}".rstrip() if status > 0 else "an error in the stream"
            self.error(kind, body.decode(errors="replace"))

    def lose(self, kind: str, frames: int, example: str) -> None:
        """Count frames that were lost with their connection."""
        self.statuses[-1] += frames
        self.error(kind, example, frames)

    def error(self, kind: str, example: str, count: int = 1) -> None:
        self.errors[kind] += count
        self.examples.setdefault(kind, " ".join(example.split())[:_EXAMPLE])

    def line(self) -> str:
        return (
            f"{self.sent} sent in {self.seconds:.1f} s, statuses {dict(self.statuses)} {dict(self.reasons)}"
            f"{dict(self.errors) or ''}, lost {self.lost}, skipped "
            f"{self.skipped}; p50 {self.us(50):.0f} us, p99 {self.us(99):.0f}, p99.9 {self.us(99.9):.0f}, most "
            f"{self.us(100):.0f}; sent late by p99 {self.lag_ns / 1e3:.0f} us; "
            f"CPU of the client {100 * self.client_share:.0f} %"
        )

    def to_dict(self, late_ms: float) -> dict[str, Any]:
        """Return plain data with times in seconds. A percentile is None if there are too few answers to tell."""
        return {
            "seconds": self.seconds, "due": self.due, "sent": self.sent, "answered": self.answered,
            "answers_per_second": self.rate, "latency_s": _spread(self.latencies),
            "refused": self.refused, "refused_by_reason": dict(self.reasons), "refusal_s": _spread(self.refusals),
            "failed": self.failed, "connections_lost": dict(self.broken),
            "errors": {kind: {"count": n, "example": self.examples[kind]} for kind, n in self.errors.items()},
            "unanswered": self.lost, "late": self.late_by(late_ms), "late_ms": late_ms,
            "statuses": {str(status): count for status, count in self.statuses.items() if status > 0},
            "events": dict(self.events), "stopped": self.stopped,
            "connections": self.connections, "connections_opened": self.opened,
            "client": {
                "cpu_share": self.client_share, "lag_p99_s": self.lag_ns / 1e9,
                "behind_s": _spread(self.behind), "turn_s": _spread(self.busy), "limits": self.client_limits,
            },
        }  # fmt: skip


def _spread(values: Array) -> dict[str, float | None]:
    """Return percentiles and the largest value, in seconds."""
    found = {f"p{p:g}": percentile(values, p) for p in PERCENTILES} | {"max": percentile(values, 100)}
    return {name: None if value is None else value / 1e9 for name, value in found.items()}
