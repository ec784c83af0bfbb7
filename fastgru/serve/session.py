"""A session: a state that a client names by an id, and the model in whose pool the state lies."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

from fastgru.serve.durable.keeper import Keeper
from fastgru.serve.durable.records import Place
from fastgru.serve.ids import Id

__all__ = ["PARKED", "Home", "Session"]

PARKED: Final = "it is parked"  # `Session.ended` of a parked session, which its connection may resume


class Home(Protocol):
    """A loaded model whose states lie in `pool`.

    fingerprint: that of the model. live: how many sessions have places in the pool. formers: earlier models of the same
    name that still have sessions. keeper: keeps the sessions on disk, where idle ones are parked; if None, idle
    sessions end.
    """

    pool: Any  # a `Pool`
    fingerprint: str
    live: int
    formers: Any  # a list of the same
    keeper: Keeper | None


class Session:
    """A state that a client names by an id.

    key: the name of the API key that opened the session, None without keys. home: the model of the state; another model
    may replace it while the session lives. handle: the session's handle in the pool. handles: the same as an array.
    moved: whether the state may differ from zeros. began_ns, last_used_ns: times. step: how many requests have run
    since the beginning. keep: whether the session outlives the connection that opened it. on_end: called with the
    reason when the server ends the session. ended: why it has ended, "" while it lives. stays: whether it remains even
    if its first request fails. place: its record on disk.

    queue: jobs that wait for the one before. early: jobs that wait for earlier steps, by step. forget: called to drop
    those when the session ends. running: whether a job is in progress. next: the step of a job that is submitted now.
    """

    __slots__ = (
        "began_ns", "early", "ended", "forget", "handle", "handles", "home", "id", "keep", "key", "last_used_ns",
        "moved", "next", "on_end", "place", "queue", "running", "stays", "step",
    )  # fmt: skip

    def __init__(self, name: Id, home: Any, handle: int, key: str | None, now_ns: int) -> None:
        self.id, self.home, self.key, self.began_ns, self.last_used_ns = name, home, key, now_ns, now_ns
        self.step, self.next, self.ended = 0, 0, ""
        self.keep = self.running = self.moved = self.stays = False
        self.on_end: Callable[[str], None] | None = None
        self.forget: Callable[[Session], None] | None = None
        self.queue: deque[Any] = deque()
        self.early: dict[int, Any] = {}
        self.place: Place | None = None
        self.move_to(handle)

    def recount(self) -> None:
        """Compute `next` again after a job has failed, since the waiting jobs are then other steps."""
        self.next = self.step
        for job in self.queue:
            self.next = 1 if job.begins else self.next + job.steps

    def move_to(self, handle: int) -> None:
        """Set the handle of the place where the state lies."""
        self.handle, self.handles = handle, np.array([handle], np.int64)

    @property
    def busy(self) -> bool:
        """Whether jobs of the session are unanswered."""
        return bool(self.running or self.queue or self.early)
