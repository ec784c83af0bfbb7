"""The sessions of a model, by the ids that clients choose.

Ids are numbers or texts, and each API key has its own: two keys never share a session. A session that is unused for
the idle time ends. A later request for it is told so, and never begins from zeros without asking for that.
"""

import time
from collections.abc import Callable, Container, Iterator
from itertools import islice

from fastgru.errors import SessionError, StateError
from fastgru.serve.durable.keeper import Parked
from fastgru.serve.errors import ServeError
from fastgru.serve.idle import Idle
from fastgru.serve.ids import Id
from fastgru.serve.moving import move
from fastgru.serve.session import PARKED, Home, Session

__all__ = ["Sessions"]


class Sessions:
    """The sessions of one model name, used by the thread of the event loop.

    home: the model of new sessions. capacity: how many sessions may live. idle_s: how long an unused session lives.
    evicted: how many have ended for being unused. any_target: whether to take saved states of another target.
    """

    def __init__(
        self,
        name: str,
        home: Home,
        capacity: int,
        idle_s: float,
        clock: Callable[[], int] = time.monotonic_ns,
        *,
        any_target: bool = False,
    ) -> None:
        self.name, self.home, self.capacity, self._any_target = name, home, capacity, any_target
        self._idle, self._clock = Idle(int(idle_s * 1e9)), clock
        self._live: dict[tuple[Id, str | None], Session] = {}
        self._attached: dict[tuple[Id, str | None], Session] = {}  # parked sessions that belong to a connection

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._live.values()))

    @property
    def evicted(self) -> int:
        return self._idle.ended

    def of(self, key: str | None) -> list[Session]:
        """Return the live sessions that this key opened."""
        return [session for session in self._live.values() if session.key == key]

    def find(self, name: Id, key: str | None = None) -> Session | None:
        """Return the live session of this id, or None."""
        return self._live.get((name, key))

    def exists(self, name: Id, key: str | None = None) -> bool:
        """Return whether there is a session of this id, live or on disk."""
        owner = (name, key)
        return owner in self._live or any(home.keeper is not None and owner in home.keeper for home in self._homes())

    def _homes(self) -> tuple[Home, ...]:
        return (self.home, *self.home.formers)

    def where(self, name: Id, key: str | None = None) -> Home:
        """Return the model that has the session of this id, live or on disk, or else the model of new sessions."""
        session = self._live.get((name, key))
        if session is not None:
            home: Home = session.home
            return home
        owner = (name, key)
        return next((each for each in self._homes() if each.keeper is not None and each.keeper.knows(owner)), self.home)

    def forget(self, name: Id, key: str | None = None) -> bool:
        """End the parked session of this id, if there is one, and return whether there was."""
        found = [home.keeper.forget(name, key) for home in self._homes() if home.keeper is not None]
        if any(found):
            self._detach(name, key, "it was ended, or started again", "taken")
        return any(found)

    def parked(self, keys: Container[str | None] | None = None) -> list[tuple[Home, Parked]]:
        """Return the sessions of these keys, by default of all keys, that are only on disk, each with its model."""
        homes = {home.keeper: home for home in self._homes()}
        return [(home, each) for keeper, home in homes.items() if keeper is not None for each in keeper.parked(keys)]

    def get(
        self, name: Id, key: str | None = None, *, numbered: bool = False, beginning: str = "sequence_start"
    ) -> Session:
        """Return the session of this id, taking it up if it is parked.

        numbered: also return an ended session whose last step may be answered again. beginning: what begins a sequence,
        for messages.

        Raises `ServeError`: 410 if it was idle too long, 400 if there is none, 503 if there is no room to take it up,
        and what `Keeper.find` raises.
        """
        session = self._live.get((name, key)) or self._take_up(name, key)
        if session is not None:
            return session
        home = self.where(name, key)
        if numbered and home.keeper is not None and (step := home.keeper.last_step(name, key)) is not None:
            session = Session(name, home, 0, key, self._clock())
            session.step, session.next, session.ended = step, step, "its client has ended it"
            return session
        if self._idle.has_ended((name, key), self._clock()):
            raise ServeError(
                410,
                f"sequence {name!r} of model {self.name!r} was ended after {self._lives_s:g} s without a request,"
                f" and its state is lost; start it again with {beginning}, and keep it alive",
                reason="evicted",
            )
        raise ServeError(
            400,
            f"sequence {name!r} of model {self.name!r} has not begun: begin it with {beginning}",
            reason="unknown_sequence",
        )

    @property
    def _lives_s(self) -> float:
        return self._idle.lives_ns / 1e9 if self.home.keeper is None else self.home.keeper.parked_s

    def _take_up(self, name: Id, key: str | None) -> Session | None:
        """Return a parked session to the pool, or return None if there is none."""
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
        """Use this model for new sessions, and for parked ones of connections whose records it has."""
        self.home = home
        for session in self._attached.values():
            if session.home.keeper is home.keeper:
                session.home = home

    def unload(self) -> None:
        """Tell the connections of parked sessions that the model is unloaded."""
        for owner in tuple(self._attached):
            self._detach(*owner, "unloaded", "unloaded")

    def revive(self, session: Session) -> None:
        """Take up a connection's session if it is parked.

        Raises `ServeError`: 410 if the session has ended, 503 if there is no room, and what `Keeper.find` raises.
        """
        if session.ended is PARKED and self._attached.get((session.id, session.key)) is session:
            self._take_up(session.id, session.key)
        if session.ended:
            raise ServeError(410, f"sequence {session.id!r} has ended: {session.ended}", reason="ended")

    def _detach(self, name: Id, key: str | None, reason: str, event: str) -> None:
        """Tell the connection of a parked session, if it has one, that the session has ended."""
        session = self._attached.pop((name, key), None)
        if session is not None:
            session.ended = reason
            if session.on_end is not None:
                session.on_end(event)

    def begin(
        self,
        name: Id,
        key: str | None = None,
        saved: bytes | None = None,
        home: Home | None = None,
        step: int | None = None,
    ) -> Session:
        """Return the session of this id, or else a new one, from zeros or from a saved state.

        saved: is loaded into an existing session, too. home: the model of a new session, by default that of all new
        ones. step: how many steps have led to `saved`.

        Raises `ServeError`: 503 if there is no room, 409 for a saved state of another model or target, and if it is to
        be loaded into a busy session.
        """
        session = self._live.get((name, key)) or self._begun_before(name, key)
        if session is not None:
            if saved is not None:
                self.load(session, saved, step)
            return session
        home = home or self.home
        session = Session(name, home, 0, key, self._clock())
        session.step = session.next = step or 0
        opened = lambda: home.pool.open(saved, any_target=self._any_target)  # noqa: E731
        return self._add(session, opened, saved is not None)

    def anew(self, name: Id, key: str | None = None) -> Session:
        """Return the session for a request that begins a sequence: the existing one, which it resets, or a new one.

        A session of a replaced model ends, unless it has requests in progress. Raises what `begin` raises.
        """
        if self.where(name, key) is not self.home:
            session = self._live.get((name, key))
            if session is None:
                self.forget(name, key)
            elif not session.busy:
                self.end(session, "it was started again")
                if session.on_end is not None:
                    session.on_end("taken")
        return self.begin(name, key)

    def _begun_before(self, name: Id, key: str | None) -> Session | None:
        """Take up a parked session; return None if there is none, or if it cannot be taken up and is to begin again."""
        try:
            return self._take_up(name, key)
        except ServeError as error:
            if error.status == 503:
                raise
            return None

    def fork(self, session: Session, name: Id) -> Session:
        """Return a new session of the same key with the same state. Raises `ServeError`: 409, 410, 503."""
        self._settled(session)
        if self.exists(name, session.key):
            raise ServeError(409, f"sequence {name!r} exists already: end it first", reason="sequence_exists")
        if session.home.keeper is not None:
            session.home.keeper.check_apart(name, session.key)
        made = Session(name, session.home, 0, session.key, self._clock())
        made.step = made.next = session.step
        made.stays = True
        return self._add(made, lambda: session.home.pool.fork(session.handle), session.moved)

    def _add(self, session: Session, opened: Callable[[], int], moved: bool) -> Session:
        """Add a new session. opened: takes a place in the pool and returns its handle."""
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
        self._idle.forget((session.id, session.key))
        self._enter(session)
        return session

    def _open(self, opened: Callable[[], int]) -> int:
        try:
            if len(self._live) >= self.capacity:
                raise SessionError("full")
            return opened()
        except SessionError:
            wait = max(1.0, self._idle.next_s(self._clock()) or 0.0)
            raise ServeError(
                503,
                f"model {self.name!r}: all {self.capacity} sessions are in use",
                reason="capacity",
                retry_after_s=wait,
            ) from None
        except StateError as error:
            raise ServeError(409, str(error), reason="state") from None

    def _enter(self, session: Session) -> None:
        session.home.live += 1
        self._live[session.id, session.key] = session
        self._idle.enter(session, len(self._live))

    def save(self, session: Session) -> bytes:
        """Return the state as bytes for `load`, or for a stream in process.

        Raises `ServeError`: 409 while the session is busy, 410 if it has ended.
        """
        self._settled(session)
        saved: bytes = session.home.pool.save(session.handle)
        return saved

    def load(self, session: Session, saved: bytes, step: int | None = None) -> None:
        """Replace the state by a saved one. step: how many steps have led to it; by default the count continues.

        Raises `ServeError`: 409 for a state that does not fit, and while the session is busy; 410 if it has ended; 503
        if the state cannot be recorded.
        """
        self._settled(session)
        try:
            session.home.pool.load(session.handle, saved, any_target=self._any_target)
        except StateError as error:
            raise ServeError(409, str(error), reason="state") from None
        if step is not None:
            session.step = session.next = step
        session.moved = True
        self._touch(session)
        if session.home.keeper is not None:
            session.home.keeper.changed(session, session.home.pool)

    def reset(self, session: Session) -> None:
        """Reset the state to zeros.

        Raises `ServeError`: 409 while the session is busy, 410 if it has ended, 503 if the state cannot be recorded.
        """
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

    def move_parked(self, home: Home, to: Home, most: int) -> bool:
        """Move at most `most` parked sessions of `home` to another model, and return whether there are more."""
        assert home.keeper is not None
        for parked in [*islice(home.keeper.parked(), most)]:
            session = self.get(parked.id, parked.key)
            move(session, to)
            self._park(session)
        return len(home.keeper) > 0

    def keep_alive(self, session: Session) -> None:
        """Mark the session as used, as a request does."""
        self._touch(session)

    def _touch(self, session: Session) -> None:
        session.last_used_ns, session.stays = self._clock(), True

    def _settled(self, session: Session) -> None:
        if session.ended:
            raise ServeError(410, f"sequence {session.id!r} has ended: {session.ended}", reason="ended")
        if session.busy:
            raise ServeError(409, f"sequence {session.id!r} has requests that are not answered yet", reason="busy")

    def end(self, session: Session, reason: str = "closed") -> None:
        """End the session. Its id is free at once, and its place in the pool after the job that is running."""
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
        """End the record of a session, or park the session if its model is unloaded."""
        if reason == "unloaded":
            session.home.keeper.park(session)
        else:
            session.home.keeper.end(session)

    def leave(self, session: Session) -> None:
        """End a session whose connection has ended, unless it is kept, or is on disk and the server shuts down."""
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
        """Take the session out of the pool, and keep its record."""
        del self._live[session.id, session.key]
        session.home.keeper.park(session)
        self.release(session)
        session.ended = PARKED
        session.home = self.where(session.id, session.key)  # a model loaded since from the same file has the record
        if session.on_end is not None:
            self._attached[session.id, session.key] = session

    def release(self, session: Session) -> None:
        """Free the place of an ended session that has no job in progress."""
        session.home.pool.close(session.handle)
        session.home.live -= 1

    def expire(self) -> float:
        """End or park the sessions that were unused for the idle time; return the seconds until the next call."""
        now, idle = self._clock(), self._idle
        for session in idle.due(now):
            if session.home.keeper is not None:
                self._park(session)
                continue
            self.end(session, "idle")
            idle.end((session.id, session.key), now)
            if session.on_end is not None:
                session.on_end("idle")
        for owner in self._dropped():
            idle.end(owner, now)
            self._detach(*owner, "idle", "idle")
        idle.forget_old(now, self.capacity)
        wait = idle.next_s(now)
        return idle.lives_ns / 1e9 if wait is None else wait

    def _dropped(self) -> list[tuple[Id, str | None]]:
        """End the sessions that have been on disk for too long, and return their owners."""
        formers = [home.keeper for home in self.home.formers if home.keeper is not None]
        dropped = [owner for keeper in formers for owner in keeper.drop_old()]
        return dropped if self.home.keeper is None else dropped + self.home.keeper.expire()
