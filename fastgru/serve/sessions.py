"""The sessions of a model: what an id that a client chose stands for, whose it is, and how it ends.

Ids are the numbers and texts that clients send, and each API key has a space of its own: two clients never come upon
each other's sessions. A session that nobody has used for the idle time is ended; whoever asks for it later is told
so, and never begins from zeros without asking for that.
"""

import heapq
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any, Final, Protocol

import numpy as np

from fastgru.errors import SessionError, StateError
from fastgru.serve.durable.keeper import Keeper, Parked
from fastgru.serve.durable.records import Place
from fastgru.serve.errors import ServeError
from fastgru.serve.ids import Id
from fastgru.streaming.state_blob import pack_state, unpack_state

__all__ = ["PARKED", "Home", "Session", "Sessions"]

PARKED: Final = "it is parked"  # `Session.ended` of one that its connection may go on with
_MOST_ENDED: Final = 64  # entries of sessions that have ended, above as many as live, that may wait to be looked at
_REMEMBERED_S: Final = 3_600.0  # for how long a session that was idle is known to have ended


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


class Sessions:
    """Those of one name. Used by one thread, that of the event loop.

    home: the model of those that begin from now on. idle_s: for how long one lives that nobody uses. evicted: how many
    have ended so.
    """

    def __init__(
        self, name: str, home: Home, capacity: int, idle_s: float, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.name, self.home, self.capacity, self.evicted = name, home, capacity, 0
        self._idle_ns, self._clock, self._order = int(idle_s * 1e9), clock, count()
        self._live: dict[tuple[Id, str | None], Session] = {}
        self._idle: list[tuple[int, int, Session]] = []  # a heap: when to look at each again
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

    def _homes(self) -> tuple[Home, ...]:
        return (self.home, *self.home.formers)

    def where(self, name: Id, key: str | None = None) -> Home:
        """The model of the session that is called so, live or parked; of a new one, where there is none."""
        session = self._live.get((name, key))
        if session is not None:
            home: Home = session.home
            return home
        owner = (name, key)
        return next((each for each in self._homes() if each.keeper is not None and each.keeper.knows(owner)), self.home)

    def forget(self, name: Id, key: str | None = None) -> bool:
        """End one that is parked, if it is."""
        found = [home.keeper.forget(name, key) for home in self._homes() if home.keeper is not None]
        if any(found):
            self._detach(name, key, "it was ended, or begun anew", "taken")
        return any(found)

    def parked(self) -> list[tuple[Home, Parked]]:
        """Those that are on disk alone, each with its model."""
        homes = {home.keeper: home for home in self._homes()}
        return [(home, each) for keeper, home in homes.items() if keeper is not None for each in keeper.parked()]

    def get(self, name: Id, key: str | None = None, *, numbered: bool = False) -> Session:
        """The session that is called so, also if it is parked. numbered: or one that has ended, whose last step may be
        answered again.

        Raises `ServeError`: 410 where it was idle too long, 400 for none, and as `Keeper.find`.
        """
        session = self._live.get((name, key)) or self._take_up(name, key)
        if session is not None:
            return session
        home = self.where(name, key)
        if numbered and home.keeper is not None and (step := home.keeper.last_step(name, key)) is not None:
            session = Session(name, home, 0, key, self._clock())
            session.step, session.next, session.ended = step, step, "its client has ended it"
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
        return self._idle_ns / 1e9 if self.home.keeper is None else self.home.keeper.parked_s

    def _take_up(self, name: Id, key: str | None) -> Session | None:
        """One that is parked is in the pool again."""
        home = self.where(name, key)
        if home.keeper is None or (found := home.keeper.find(name, key)) is None:
            return None
        step, state = found
        handle = self._open(lambda: home.pool.open())
        home.pool.load_from(handle, state)
        session = self._attached.pop((name, key), None) or Session(name, home, handle, key, self._clock())
        session.home = home
        session.move_to(handle)
        session.ended, session.step, session.next, session.last_used_ns = "", step, step, self._clock()
        session.moved = session.stays = True
        home.keeper.take_up(session)
        self._enter(session)
        return session

    def succeed(self, home: Home) -> None:
        """This is the model of new ones from now on, and of parked ones that connections have, if it finds them."""
        self.home = home
        for session in self._attached.values():
            if session.home.keeper is home.keeper:
                session.home = home

    def unload(self) -> None:
        """Tell the connections that have parked ones that the model leaves memory."""
        for owner in tuple(self._attached):
            self._detach(*owner, "unloaded", "unloaded")

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

    def begin(self, name: Id, key: str | None = None, saved: bytes | None = None, home: Home | None = None) -> Session:
        """The live session that is called so, as it is, or else a new one, from zeros or from a saved state.

        home: the model of a new one, where it is not that of all others.

        Raises `ServeError`: 503 where there is no room for another, 409 for a saved state of another model.
        """
        session = self._live.get((name, key)) or self._begun_before(name, key)
        if session is not None:
            if saved is not None:
                self.load(session, saved)
            return session
        home = home or self.home
        return self._add(Session(name, home, 0, key, self._clock()), lambda: home.pool.open(saved), saved is not None)

    def anew(self, name: Id, key: str | None = None) -> Session:
        """For a request that begins a sequence: the live session, which it takes back to zeros, or a new one.

        One of a model that has been replaced ends for it, unless requests of it are on their way. Raises as `begin`.
        """
        if self.where(name, key) is not self.home:
            session = self._live.get((name, key))
            if session is None:
                self.forget(name, key)
            elif not session.busy:
                self.end(session, "it was begun anew")
                if session.on_end is not None:
                    session.on_end("taken")
        return self.begin(name, key)

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
        if owner in self._live or any(home.keeper is not None and owner in home.keeper for home in self._homes()):
            raise ServeError(409, f"sequence {name!r} is there already: end it first", reason="sequence_exists")
        made = Session(name, session.home, 0, session.key, self._clock())
        made.step = made.next = session.step
        made.stays = True
        return self._add(made, lambda: session.home.pool.fork(session.handle), session.moved)

    def _add(self, session: Session, opened: Callable[[], int], moved: bool) -> Session:
        """It lives from now on. opened: its place in the pool."""
        handle = self._open(opened)
        session.move_to(handle)
        session.moved = moved
        home = session.home
        if home.keeper is not None:
            try:
                home.keeper.begin(session, home.pool)
            except ServeError:
                home.pool.close(handle)
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
        session.home.live += 1
        self._live[session.id, session.key] = session
        if len(self._idle) > 2 * len(self._live) + _MOST_ENDED:
            self._idle = [entry for entry in self._idle if not entry[2].ended]
            heapq.heapify(self._idle)
        heapq.heappush(self._idle, (session.last_used_ns + self._idle_ns, next(self._order), session))

    def save(self, session: Session) -> bytes:
        """Its state as bytes that `load`, and a stream in process, take. Raises `ServeError`, 409, while it is busy."""
        self._settled(session)
        saved: bytes = session.home.pool.save(session.handle)
        return saved

    def load(self, session: Session, saved: bytes) -> None:
        """Go on from a saved state. Raises `ServeError`, 409, for one that does not fit, and while it is busy."""
        self._settled(session)
        try:
            session.home.pool.load(session.handle, saved)
        except StateError as error:
            raise ServeError(409, str(error), reason="state") from None
        session.moved = True
        self._touch(session)
        if session.home.keeper is not None:
            session.home.keeper.changed(session, session.home.pool)

    def reset(self, session: Session) -> None:
        """Back to zeros. Raises `ServeError`, 409, while it is busy."""
        self._settled(session)
        session.home.pool.reset(session.handle)
        session.step, session.next, session.moved = 0, 0, False
        self._touch(session)
        if session.home.keeper is not None:
            try:
                session.home.keeper.changed(session, session.home.pool)
            except ServeError:
                session.moved = True
                raise

    def move(self, session: Session, home: Home) -> None:
        """Go on with another model, from the same state. No job of it is on its way.

        Raises `StateError` where the other model has other states, `ServeError`, 503, where it cannot be written to
        disk; the session is then as it was.
        """
        before, place, handle = session.home, session.place, session.handle
        state = unpack_state(before.pool.save(handle), before.fingerprint)
        answer = None if before.keeper is None else before.keeper.answer(session)
        session.move_to(home.pool.open(pack_state(state, home.fingerprint)))
        if home.keeper is not None:
            try:
                home.keeper.begin(session, home.pool)
                if answer is not None:
                    home.keeper.record(session, home.pool, session.step, answer)
            except ServeError:
                home.keeper.end(session)
                home.pool.close(session.handle)
                session.place = place
                session.move_to(handle)
                session.recount()
                raise
        if before.keeper is not None:
            session.place, place = place, session.place
            before.keeper.end(session)
            session.place = place
        before.pool.close(handle)
        before.live -= 1
        session.home = home
        home.live += 1

    def move_parked(self, home: Home, to: Home, most: int) -> bool:
        """Have some of those that are parked there go on with another model; whether there are more."""
        assert home.keeper is not None
        for parked in [*islice(home.keeper.parked(), most)]:
            session = self.get(parked.id, parked.key)
            self.move(session, to)
            self._park(session)
        return len(home.keeper) > 0

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
        if session.home.keeper is not None:
            self._forget_record(session, reason)
        session.ended = reason
        del self._live[session.id, session.key]
        if session.forget is not None:
            session.forget(session)
        if not session.running:
            self.release(session)

    def _forget_record(self, session: Session, reason: str) -> None:
        """It ends, or, with its model, leaves memory."""
        if reason == "unloaded":
            session.home.keeper.park(session)
        else:
            session.home.keeper.end(session)

    def leave(self, session: Session) -> None:
        """Its connection has ended: so has it, unless it is to be kept, or the server ends and has it on disk."""
        owner, keeper = (session.id, session.key), session.home.keeper
        if session.ended is PARKED and self._attached.get(owner) is session:
            del self._attached[owner]
        if session.keep or (keeper is not None and keeper.is_closing):
            return
        if session.ended is PARKED and keeper is not None:
            keeper.forget(*owner)
        elif not session.ended:
            self.end(session, "its connection has ended")

    def _park(self, session: Session) -> None:
        """It leaves the pool, and its record stays."""
        del self._live[session.id, session.key]
        session.home.keeper.park(session)
        self.release(session)
        session.ended = PARKED
        if session.on_end is not None:
            self._attached[session.id, session.key] = session

    def release(self, session: Session) -> None:
        """Give the place up of one that has ended, when no job of it is on its way."""
        session.home.pool.close(session.handle)
        session.home.live -= 1

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
            if session.home.keeper is not None:
                self._park(session)
                continue
            self.end(session, "idle")
            self.evicted += 1
            self._gone[session.id, session.key] = now
            if session.on_end is not None:
                session.on_end("idle")
        for owner in self._dropped():
            self.evicted += 1
            self._gone[owner] = now
            self._detach(*owner, "idle", "idle")
        while self._gone and (
            len(self._gone) > self.capacity or now - next(iter(self._gone.values())) > _REMEMBERED_S * 1e9
        ):
            self._gone.popitem(last=False)
        return (idle[0][0] - now) / 1e9 if idle else self._idle_ns / 1e9

    def _dropped(self) -> list[tuple[Id, str | None]]:
        """End those that have been on disk for too long; which."""
        formers = [home.keeper for home in self.home.formers if home.keeper is not None]
        dropped = [owner for keeper in formers for owner in keeper.drop_old()]
        return dropped if self.home.keeper is None else dropped + self.home.keeper.expire()
