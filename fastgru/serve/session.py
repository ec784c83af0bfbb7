"""A session: a state that a client calls by its id, and the model in whose pool it lies."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

from fastgru.serve.durable.keeper import Keeper
from fastgru.serve.durable.records import Place
from fastgru.serve.ids import Id

__all__ = ["PARKED", "Home", "Session"]

PARKED: Final = "it is parked"  # `Session.ended` of one that its connection may go on with


class Home(Protocol):
    """A loaded model whose states lie in `pool`. fingerprint: of the model. live: sessions that have places there.

    formers: models before it under the same name, with sessions that go on. keeper: has its sessions on disk, too;
    those that are idle are parked there, and live on. None: they end.
    """

    pool: Any  # a `Pool`
    fingerprint: str
    live: int
    formers: Any  # a list of the same
    keeper: Keeper | None


class Session:
    """A state that a client calls by its id.

    home: the model whose state it is; the file of a model may be loaded anew while sessions live. handle: of its pool,
    and handles: it as an array. moved: its state may be other than zeros. key: the name of the API key that opened it,
    None where there are none, and began_ns: when. step: how many requests it has been through since it began. keep: it
    outlives the connection that opened it. on_end: called with the reason when the server ends it. ended: why it has
    ended, "" while it lives. stays: it is there even if the first of its requests fails. queue: its jobs that wait for
    the one before; early: those whose `step` has not come, and forget: called for them when it ends; running: one is on
    its way; next: the step of a job that is submitted now. place: where its record is on disk.
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
        """A job has not been a step: those that wait are other steps than they were."""
        self.next = self.step
        for job in self.queue:
            self.next = 1 if job.begins else self.next + job.steps

    def move_to(self, handle: int) -> None:
        """Its state is here from now on."""
        self.handle, self.handles = handle, np.array([handle], np.int64)

    @property
    def busy(self) -> bool:
        """Jobs of it have not been answered."""
        return bool(self.running or self.queue or self.early)
