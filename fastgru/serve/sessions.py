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
from fastgru.serve.durable.keeper import Keeper
from fastgru.serve.durable.records import Place
from fastgru.serve.errors import ServeError
from fastgru.serve.ids import Id
from fastgru.serve.rows import Pool

__all__ = ["PARKED", "Session", "Sessions"]

PARKED: Final = "it is parked"  # `Session.ended` of one that its connection may go on with
_MOST_ENDED: Final = 64  # entries of sessions that have ended, above as many as live, that may wait to be looked at
_REMEMBERED_S: Final = 3_600.0  # for how long a session that was idle is known to have ended


class Session:
    """A state that a client calls by its id.

    handle: of the pool, and handles: it as an array. moved: its state may be other than zeros. key: the name of the API
    key that opened it, None where there are none, and began_ns: when. step: how many requests it has been through since
    it began. keep: it outlives the connection that opened it. on_end: called with the reason when the server ends it.
    ended: why it has ended, "" while it lives. stays: it is there even if the first of its requests fails. queue: its
    jobs that wait for the one before; early: those whose `step` has not come, and forget: called for them when it ends;
    running: one is on its way; next: the step of a job that is submitted now. place: where its record is on disk.
    """

    __slots__ = (
        "began_ns", "early", "ended", "forget", "handle", "handles", "id", "keep", "key", "last_used_ns", "moved",
        "next", "on_end", "place", "queue", "running", "stays", "step",
    )  # fmt: skip

    def __init__(self, name: Id, handle: int, key: str | None, now_ns: int) -> None:
        self.id, self.key, self.began_ns, self.last_used_ns = name, key, now_ns, now_ns
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
            self.next = 1 if job.begins else self.next + 1

    def move_to(self, handle: int) -> None:
        """Its state is here from now on."""
        self.handle, self.handles = handle, np.array([handle], np.int64)

    @property
    def busy(self) -> bool:
        """Jobs of it have not been answered."""
        return bool(self.running or self.queue or self.early)


class Sessions:
    """Those of one model. Used by one thread, that of the event loop.

    pool: where their states are. idle_s: for how long one lives that nobody uses. evicted: how many have ended so.
    keeper: has them on disk, too; sessions that are idle are parked there, and live on. None: they end.
    """

    def __init__(
        self, name: str, pool: Pool, capacity: int, idle_s: float, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.name, self.pool, self.capacity, self.evicted = name, pool, capacity, 0
        self._idle_ns, self._clock, self._order = int(idle_s * 1e9), clock, count()
        self._live: dict[tuple[Id, str | None], Session] = {}
        self._idle: list[tuple[int, int, Session]] = []  # a heap: when to look at each again
        self.keeper: Keeper | None = None
        self._attached: dict[tuple[Id, str | None], Session] = {}  # parked, and a connection has it
        self._gone: OrderedDict[tuple[Id, str | None], int] = OrderedDict()  # ended for being idle, and when

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._live.values()))

    def of(self, key: str | None) -> list[Session]:
        """Those that this key opened."""
        return [session for session in self._live.values() if session.key == key]

    def find(self, name: Id, key: str | None = None) -> Session | None:
        """The live session that is called so, None where there is none."""
        return self._live.get((name, key))

    def forget(self, name: Id, key: str | None = None) -> None:
        """End one that is parked, if it is: it is to be begun anew."""
        if self.keeper is not None and self.keeper.forget(name, key):
            self._detach(name, key, "it was begun anew", "taken")

    def get(self, name: Id, key: str | None = None) -> Session:
        """The session that is called so, also if it is parked.

        Raises `ServeError`: 410 where it was idle too long, 400 for none, and as `Keeper.find`.
        """
        session = self._live.get((name, key)) or self._take_up(name, key)
        if session is not None:
            return session
        gone = self._gone.get((name, key))
        if gone is not None and self._clock() - gone < _REMEMBERED_S * 1e9:
            raise ServeError(
                410,
                f"sequence {name!r} of model {self.name!r} was ended after {self._lives_s:g} s without a request,"
                " and its state is gone; begin it anew with sequence_start, or keep it alive",
                reason="evicted",
            )
        raise ServeError(
            400,
            f"sequence {name!r} of model {self.name!r} has not begun: its first request needs sequence_start",
            reason="unknown_sequence",
        )

    @property
    def _lives_s(self) -> float:
        return self._idle_ns / 1e9 if self.keeper is None else self.keeper.parked_s

    def _take_up(self, name: Id, key: str | None) -> Session | None:
        """One that is parked is in the pool again."""
        if self.keeper is None or (found := self.keeper.find(name, key)) is None:
            return None
        step, state = found
        session = self._attached.pop((name, key), None)
        handle = self._open(lambda: self.pool.open())
        self.pool.load_from(handle, state)
        if session is None:
            session = Session(name, handle, key, self._clock())
        session.move_to(handle)
        session.ended, session.step, session.next, session.last_used_ns = "", step, step, self._clock()
        session.moved = session.stays = True
        self.keeper.take_up(session)
        self._enter(session)
        return session

    def revive(self, session: Session) -> None:
        """Have one that is parked, of a connection, live again. Raises `ServeError`: 410 for one that has ended."""
        if session.ended is PARKED and self._attached.get((session.id, session.key)) is session:
            self._take_up(session.id, session.key)
        if session.ended:
            raise ServeError(410, f"sequence {session.id!r} has ended: {session.ended}", reason="ended")

    def _detach(self, name: Id, key: str | None, reason: str, event: str) -> None:
        """A session that was parked is no more: its connection is told."""
        session = self._attached.pop((name, key), None)
        if session is not None:
            session.ended = reason
            if session.on_end is not None:
                session.on_end(event)

    def begin(self, name: Id, key: str | None = None, saved: bytes | None = None) -> Session:
        """The live session that is called so, as it is, or else a new one, from zeros or from a saved state.

        Raises `ServeError`: 503 where there is no room for another, 409 for a saved state of another model.
        """
        session = self._live.get((name, key)) or self._begun_before(name, key)
        if session is not None:
            if saved is not None:
                self.load(session, saved)
            return session
        return self._add(Session(name, 0, key, self._clock()), lambda: self.pool.open(saved), saved is not None)

    def _begun_before(self, name: Id, key: str | None) -> Session | None:
        """One that is parked. What cannot be taken up is begun anew."""
        try:
            return self._take_up(name, key)
        except ServeError as error:
            if error.status == 503:
                raise
            return None

    def fork(self, session: Session, name: Id) -> Session:
        """Another session of the same key that goes on from the same state. Raises `ServeError`: 409, 503."""
        self._settled(session)
        owner = (name, session.key)
        if owner in self._live or (self.keeper is not None and owner in self.keeper):
            raise ServeError(409, f"sequence {name!r} is there already: end it first", reason="sequence_exists")
        made = Session(name, 0, session.key, self._clock())
        made.step = made.next = session.step
        made.stays = True
        return self._add(made, lambda: self.pool.fork(session.handle), session.moved)

    def _add(self, session: Session, opened: Callable[[], int], moved: bool) -> Session:
        """It lives from now on. opened: its place in the pool."""
        handle = self._open(opened)
        session.move_to(handle)
        session.moved = moved
        if self.keeper is not None:
            try:
                self.keeper.begin(session, self.pool)
            except ServeError:
                self.pool.close(handle)
                raise
        self._gone.pop((session.id, session.key), None)
        self._enter(session)
        return session

    def _open(self, opened: Callable[[], int]) -> int:
        try:
            if len(self._live) >= self.capacity:
                raise SessionError("full")
            return opened()
        except SessionError:
            wait = max(1.0, (self._idle[0][0] - self._clock()) / 1e9) if self._idle else 1.0
            raise ServeError(
                503,
                f"model {self.name!r}: all {self.capacity} sessions are taken",
                reason="capacity",
                retry_after_s=wait,
            ) from None
        except StateError as error:
            raise ServeError(409, str(error), reason="state") from None

    def _enter(self, session: Session) -> None:
        self._live[session.id, session.key] = session
        if len(self._idle) > 2 * len(self._live) + _MOST_ENDED:
            self._idle = [entry for entry in self._idle if not entry[2].ended]
            heapq.heapify(self._idle)
        heapq.heappush(self._idle, (session.last_used_ns + self._idle_ns, next(self._order), session))

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
        if self.keeper is not None:
            self.keeper.changed(session, self.pool)

    def reset(self, session: Session) -> None:
        """Back to zeros. Raises `ServeError`, 409, while it is busy."""
        self._settled(session)
        self.pool.reset(session.handle)
        session.step, session.next, session.moved = 0, 0, False
        self._touch(session)
        if self.keeper is not None:
            try:
                self.keeper.changed(session, self.pool)
            except ServeError:
                session.moved = True
                raise

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
        if self.keeper is not None:
            self._forget_record(session, reason)
        session.ended = reason
        del self._live[session.id, session.key]
        if session.forget is not None:
            session.forget(session)
        if not session.running:
            self.release(session)

    def _forget_record(self, session: Session, reason: str) -> None:
        """It ends, or, with its model, leaves memory."""
        assert self.keeper is not None
        if reason == "unloaded":
            self.keeper.park(session)
        else:
            self.keeper.end(session)

    def leave(self, session: Session) -> None:
        """Its connection has ended: so has it, unless it is to be kept, or the server ends and has it on disk."""
        owner = (session.id, session.key)
        if session.ended is PARKED and self._attached.get(owner) is session:
            del self._attached[owner]
        if session.keep or (self.keeper is not None and self.keeper.is_closing):
            return
        if session.ended is PARKED and self.keeper is not None:
            self.keeper.forget(*owner)
        elif not session.ended:
            self.end(session, "its connection has ended")

    def _park(self, session: Session) -> None:
        """It leaves the pool, and its record stays."""
        assert self.keeper is not None
        del self._live[session.id, session.key]
        self.keeper.park(session)
        self.pool.close(session.handle)
        session.ended = PARKED
        if session.on_end is not None:
            self._attached[session.id, session.key] = session

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
            if self.keeper is not None:
                self._park(session)
                continue
            self.end(session, "idle")
            self.evicted += 1
            self._gone[session.id, session.key] = now
            if session.on_end is not None:
                session.on_end("idle")
        for owner in () if self.keeper is None else self.keeper.expire():
            self.evicted += 1
            self._gone[owner] = now
            self._detach(*owner, "idle", "idle")
        while self._gone and (
            len(self._gone) > self.capacity or now - next(iter(self._gone.values())) > _REMEMBERED_S * 1e9
        ):
            self._gone.popitem(last=False)
        return (idle[0][0] - now) / 1e9 if idle else self._idle_ns / 1e9
