"""The sessions of a model: what an id that a client chose stands for, whose it is, and how it ends.

Ids are the numbers and texts that clients send, and each API key has a space of its own: two clients never come upon
each other's sessions. A session that nobody has used for the idle time is ended; whoever asks for it later is told
so, and never begins from zeros without asking for that.
"""

import heapq
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

import numpy as np

from fastgru.errors import SessionError, StateError
from fastgru.serve.errors import ServeError
from fastgru.serve.rows import Pool

__all__ = ["Id", "Session", "Sessions", "check_id"]

Id = int | str

_MAX_TEXT: Final = 256
_MOST_ENDED: Final = 64  # entries of sessions that have ended, above as many as live, that may wait to be looked at
_REMEMBERED_S: Final = 3_600.0  # for how long a session that was idle is known to have ended


class Session:
    """A state that a client calls by its id.

    handle: of the pool, and handles: it as an array. moved: its state may be other than zeros. key: the name of the API
    key that opened it, None where there are none. step: how many requests it has been through since it began.
    keep: it outlives the connection that opened it. on_end: called with the reason when the server ends it. ended: why
    it has ended, "" while it lives. stays: it is there even if the first of its requests fails. queue: its jobs that
    wait for the one before; early: those whose `step` has not come, and forget: called for them when it ends; running:
    one is on its way; next: the step of a job that is submitted now.
    """

    __slots__ = (
        "early", "ended", "forget", "handle", "handles", "id", "keep", "key", "last_used_ns", "moved", "next", "on_end",
        "queue", "running", "stays", "step",
    )  # fmt: skip

    def __init__(self, name: Id, handle: int, key: str | None, now_ns: int) -> None:
        self.id, self.key, self.last_used_ns = name, key, now_ns
        self.step, self.next, self.ended = 0, 0, ""
        self.keep = self.running = self.moved = self.stays = False
        self.on_end: Callable[[str], None] | None = None
        self.forget: Callable[[Session], None] | None = None
        self.queue: deque[Any] = deque()
        self.early: dict[int, Any] = {}
        self.move_to(handle)

    def recount(self) -> None:
        """A job has not been a step: those that wait are other steps than they were."""
        self.next = self.step
        for job in self.queue:
            self.next = 1 if job.begins else self.next + 1

    def move_to(self, handle: int) -> None:
        """Its state is here from now on."""
        self.handle, self.handles = handle, np.array([handle], np.int64)

    @property
    def busy(self) -> bool:
        """Jobs of it have not been answered."""
        return bool(self.running or self.queue or self.early)


def check_id(name: object) -> Id:
    """An id that a client sent. Raises `ServeError`, 400, for what is none."""
    if isinstance(name, str) and 0 < len(name) <= _MAX_TEXT:
        return name
    if type(name) is int and 0 < name < 1 << 64:
        return name
    raise ServeError(
        400,
        f"sequence id {name!r:.80}: expected a whole number from 1 to 2**64 - 1, or a text of at most {_MAX_TEXT}"
        " characters",
        reason="sequence_id",
    )


class Sessions:
    """Those of one model. Used by one thread, that of the event loop.

    pool: where their states are. idle_s: for how long one lives that nobody uses. evicted: how many have ended so.
    """

    def __init__(
        self, name: str, pool: Pool, capacity: int, idle_s: float, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.name, self.pool, self.capacity, self.evicted = name, pool, capacity, 0
        self._idle_ns, self._clock, self._order = int(idle_s * 1e9), clock, count()
        self._live: dict[tuple[Id, str | None], Session] = {}
        self._idle: list[tuple[int, int, Session]] = []  # a heap: when to look at each again
        self._gone: OrderedDict[tuple[Id, str | None], int] = OrderedDict()  # ended for being idle, and when

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._live.values()))

    def of(self, key: str | None) -> list[Session]:
        """Those that this key opened."""
        return [session for session in self._live.values() if session.key == key]

    def find(self, name: Id, key: str | None = None) -> Session | None:
        """The session that is called so, None where there is none."""
        return self._live.get((name, key))

    def get(self, name: Id, key: str | None = None) -> Session:
        """The session that is called so. Raises `ServeError`: 410 where it was idle too long, 400 for none."""
        session = self._live.get((name, key))
        if session is not None:
            return session
        gone = self._gone.get((name, key))
        if gone is not None and self._clock() - gone < _REMEMBERED_S * 1e9:
            raise ServeError(
                410,
                f"sequence {name!r} of model {self.name!r} was ended after {self._idle_ns / 1e9:g} s without a request,"
                " and its state is gone; begin it anew with sequence_start, or keep it alive",
                reason="evicted",
            )
        raise ServeError(
            400,
            f"sequence {name!r} of model {self.name!r} has not begun: its first request needs sequence_start",
            reason="unknown_sequence",
        )

    def begin(self, name: Id, key: str | None = None, saved: bytes | None = None) -> Session:
        """The live session that is called so, as it is, or else a new one, from zeros or from a saved state.

        Raises `ServeError`: 503 where there is no room for another, 409 for a saved state of another model.
        """
        session = self._live.get((name, key))
        if session is not None:
            if saved is not None:
                self.load(session, saved)
            return session
        made = self._add(name, key, lambda: self.pool.open(saved))
        made.moved = saved is not None
        return made

    def fork(self, session: Session, name: Id) -> Session:
        """Another session of the same key that goes on from the same state. Raises `ServeError`: 409, 503."""
        self._settled(session)
        if (name, session.key) in self._live:
            raise ServeError(409, f"sequence {name!r} is there already: end it first", reason="sequence_exists")
        made = self._add(name, session.key, lambda: self.pool.fork(session.handle))
        made.step = made.next = session.step
        made.moved, made.stays = session.moved, True
        return made

    def _add(self, name: Id, key: str | None, opened: Callable[[], int]) -> Session:
        now = self._clock()
        try:
            if len(self._live) >= self.capacity:
                raise SessionError("full")
            handle = opened()
        except SessionError:
            wait = max(1.0, (self._idle[0][0] - now) / 1e9) if self._idle else 1.0
            raise ServeError(
                503,
                f"model {self.name!r}: all {self.capacity} sessions are taken",
                reason="capacity",
                retry_after_s=wait,
            ) from None
        except StateError as error:
            raise ServeError(409, str(error), reason="state") from None
        session = self._live[name, key] = Session(name, handle, key, now)
        self._gone.pop((name, key), None)
        if len(self._idle) > 2 * len(self._live) + _MOST_ENDED:
            self._idle = [entry for entry in self._idle if not entry[2].ended]
            heapq.heapify(self._idle)
        heapq.heappush(self._idle, (now + self._idle_ns, next(self._order), session))
        return session

    def save(self, session: Session) -> bytes:
        """Its state as bytes that `load`, and a stream in process, take. Raises `ServeError`, 409, while it is busy."""
        self._settled(session)
        return self.pool.save(session.handle)

    def load(self, session: Session, saved: bytes) -> None:
        """Go on from a saved state. Raises `ServeError`, 409, for one that does not fit, and while it is busy."""
        self._settled(session)
        try:
            self.pool.load(session.handle, saved)
        except StateError as error:
            raise ServeError(409, str(error), reason="state") from None
        session.moved = True
        self._touch(session)

    def reset(self, session: Session) -> None:
        """Back to zeros. Raises `ServeError`, 409, while it is busy."""
        self._settled(session)
        self.pool.reset(session.handle)
        session.step, session.next, session.moved = 0, 0, False
        self._touch(session)

    def keep_alive(self, session: Session) -> None:
        """As a request would, without one."""
        self._touch(session)

    def _touch(self, session: Session) -> None:
        session.last_used_ns, session.stays = self._clock(), True

    def _settled(self, session: Session) -> None:
        if session.ended:
            raise ServeError(410, f"sequence {session.id!r} has ended: {session.ended}", reason="ended")
        if session.busy:
            raise ServeError(409, f"sequence {session.id!r} has requests that are not answered yet", reason="busy")

    def end(self, session: Session, reason: str = "closed") -> None:
        """Its id is free at once, and its place when the job that is on its way has been."""
        if session.ended:
            return
        session.ended = reason
        del self._live[session.id, session.key]
        if session.forget is not None:
            session.forget(session)
        if not session.running:
            self.release(session)

    def release(self, session: Session) -> None:
        """Give the place up of one that has ended, when no job of it is on its way."""
        self.pool.close(session.handle)

    def expire(self) -> float:
        """End those that nobody has used for the idle time. In how many seconds to come again."""
        now, idle = self._clock(), self._idle
        while idle and idle[0][0] <= now:
            _, order, session = heapq.heappop(idle)
            if session.ended:
                continue
            due = (now if session.busy else session.last_used_ns) + self._idle_ns
            if due > now:
                heapq.heappush(idle, (due, order, session))
                continue
            self.end(session, "idle")
            self.evicted += 1
            self._gone[session.id, session.key] = now
            if session.on_end is not None:
                session.on_end("idle")
        while self._gone and (
            len(self._gone) > self.capacity or now - next(iter(self._gone.values())) > _REMEMBERED_S * 1e9
        ):
            self._gone.popitem(last=False)
        return (idle[0][0] - now) / 1e9 if idle else self._idle_ns / 1e9
