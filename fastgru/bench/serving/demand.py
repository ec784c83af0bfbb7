"""The load to offer: which loop, at which rates, for how long."""

from __future__ import annotations

import numpy as np

from fastgru.bench.serving.outcome import LATE_MS
from fastgru.bench.serving.schedule import ARRIVALS, Schedule, periodic
from fastgru.errors import FastGRUError
from fastgru.records import dataclass

__all__ = ["Demand", "Ramp"]


@dataclass(frozen=True)
class Ramp:
    """Evenly spaced values from the first to the last."""

    first: float
    last: float
    steps: int

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(float(value) for value in np.linspace(self.first, self.last, self.steps))


@dataclass(frozen=True)
class Demand:
    """One of four loops, each for `seconds` after a warm-up.

    Closed, by default: each of `connections` sends its next request after an answer. rate: so many requests per second,
    which do not wait for answers. sessions with frame_rate: real time, each session on its own connection with a frame
    every 1 / frame_rate seconds. ramp: steps of rates, or with frame_rate of sessions, each for `seconds`.

    stateless: requests without a sequence, each over any free connection. late_ms: the time after which an answer is
        late.
    chunk: steps in a frame. timeout_ms: the time in which the server is asked to answer. floor: also measure a raw
        echo.
    Raises `FastGRUError` for options that contradict each other.
    """

    connections: int = 16
    rate: float | None = None
    arrivals: str = "poisson"
    sessions: int | None = None
    frame_rate: float | None = None
    ramp: Ramp | None = None
    seconds: float = 10.0
    warm_up: float = 1.0
    late_ms: float = LATE_MS
    stateless: bool = False
    chunk: int = 1
    timeout_ms: float | None = None
    floor: bool = False

    def __post_init__(self) -> None:
        chosen = [self.rate is not None, self.sessions is not None, self.ramp is not None]
        for wrong, words in (
            (sum(chosen) > 1, "--rate, --sessions and --ramp are three loads: give one"),
            (self.sessions is not None and self.frame_rate is None, "--sessions needs --frame-rate"),
            (
                self.frame_rate is not None and self.sessions is None and self.ramp is None,
                "--frame-rate is for --sessions, or for a --ramp of sessions",
            ),
            (self.frame_rate is not None and self.stateless, "sessions have a state: --stateless is not for them"),
            (
                self.ramp is not None and self.real_time and any(value < 1 for value in self.ramp.values),
                "--ramp with --frame-rate is of sessions: at least 1",
            ),
            (
                self.open and min(self._offered(value) for value in self.values) * self.seconds < 1,
                "not one request would be due: a higher rate, or more --seconds",
            ),
        ):
            if wrong:
                raise FastGRUError(words)

    @property
    def real_time(self) -> bool:
        return self.frame_rate is not None

    @property
    def open(self) -> bool:
        return self.real_time or self.rate is not None or self.ramp is not None

    @property
    def values(self) -> tuple[float, ...]:
        """The offered loads, in order: sessions in real time, requests per second, or connections."""
        if self.ramp is not None:
            return tuple(map(round, self.ramp.values)) if self.real_time else self.ramp.values
        return (float(self.sessions or self.rate or self.connections),)

    @property
    def most_connections(self) -> int:
        return int(max(self.values)) if self.real_time else self.connections

    def schedule(self, value: float, seconds: float, seed: int = 0) -> Schedule:
        """Return when the frames of an open loop are due."""
        if self.frame_rate is not None:
            return periodic(int(value), self.frame_rate, seconds, seed)
        return ARRIVALS[self.arrivals](self.connections, value, seconds, seed)

    def words(self, value: float) -> str:
        if self.frame_rate is not None:
            return f"{value:,.0f} sessions at {self.frame_rate:g} frames/s"
        return f"{value:,.5g} requests/s" if self.open else f"{value:.0f} connections"

    @property
    def unit(self) -> str:
        """The unit of the values."""
        return "sessions" if self.real_time else "requests/s" if self.open else "connections"

    def title(self) -> str:
        """Return the kind of the load, in one line."""
        if self.frame_rate is not None:
            return f"real time: every session sends {self.frame_rate:g} frames/s, whether or not answers come"
        states = "without sessions" if self.stateless else "with one session each"
        over = f"{self.connections} connections {states}"
        if self.open:
            return f"open loop: {self.arrivals} arrivals, whether or not answers come; {over}"
        return f"closed loop: each request waits for the answer to the one before; {over}"

    def _offered(self, value: float) -> float:
        return value * self.frame_rate if self.frame_rate is not None else value
