"""What keeps the sessions of one model: every change of a state is a record before anybody is told of it.

A session that nobody uses is parked: it gives its place in the pool up and stays on disk, where its next request finds
it. After a start all are parked.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from fastgru.graph import Array
from fastgru.serve.durable.answers import Answers
from fastgru.serve.durable.records import Place, Records
from fastgru.serve.durable.slots import OWN_TARGET, Identity, target_name
from fastgru.serve.errors import ServeError
from fastgru.serve.ids import Id
from fastgru.serve.rows import Pool
from fastgru.simd.target import TARGET

__all__ = ["Keeper", "Kept", "Owner", "Parked"]

Owner = tuple[Id, str | None]  # an id, and the name of the key that opened it

_RETRY_S: Final = 1.0
_MOST_OVER: Final = 1_024  # sessions that have ended, whose last answers are kept
_log = logging.getLogger("fastgru.serve")


class Kept(Protocol):
    """A session, as it is seen from here. place: where its record is, None where it has none."""

    id: Id
    key: str | None
    handle: int
    step: int
    next: int
    place: Place | None


class Parked(NamedTuple):
    """A session on disk."""

    id: Id
    key: str | None
    step: int
    idle_seconds: float


class Keeper:
    """records: of the model. others: the keepers of other models that were served under the same name.

    parked_s: for how long a session stays on disk that nobody uses; most: how many do. is_closing: the server is going
    down, and connections end without their sessions. any_target: states that another target has made are taken up.
    Used by the thread of the event loop.
    """

    def __init__(
        self,
        name: str,
        records: Records,
        answers: Answers,
        parked_s: float,
        most: int,
        others: Callable[[], Sequence["Keeper"]],
        any_target: bool = False,
    ) -> None:
        self.name, self.parked_s, self.is_closing, self._any_target = name, parked_s, False, any_target
        self._is_closed = False
        self._records, self._answers, self._most, self._others = records, answers, most, others
        self._parked: OrderedDict[Owner, int] = OrderedDict()  # places, the one that was parked first first
        self._damaged = {(identity.name, identity.key) for identity in records.damaged if identity is not None}
        self._over: OrderedDict[Owner, int] = OrderedDict()  # those that ended with a numbered step
        for found, by_owner in ((records.found, self._parked), (records.over, self._over)):
            for number, identity, _, _ in found:
                owner = (identity.name, identity.key)
                if owner in by_owner:  # two versions of the model had it; the one that was used last goes on
                    records.end(records.place(by_owner.pop(owner), identity))
                by_owner[owner] = number

    def __len__(self) -> int:
        return len(self._parked)

    def __contains__(self, owner: Owner) -> bool:
        return owner in self._parked

    def knows(self, owner: Owner) -> bool:
        """It is parked, or its last answer is kept."""
        return owner in self._parked or owner in self._over

    def parked(self, keys: Container[str | None] | None = None) -> Iterator[Parked]:
        """Those of these keys, by default all of them; the one that was parked first first."""
        now = time.time_ns()
        for (name, key), number in self._parked.items():
            if keys is not None and key not in keys:
                continue
            head = self._records.head(number)
            yield Parked(name, key, head.step, max(0.0, (now - head.used_ns) / 1e9))

    def settle(self) -> None:
        """Of a session that another model has, too, the one that was used last goes on: a process ended as it changed
        from one to the other.
        """
        for other in self._others():
            for owner in self._parked.keys() & other._parked.keys():
                mine, theirs = (each._records.head(each._parked[owner]).used_ns for each in (self, other))
                (self if mine < theirs else other).forget(*owner)

    # Records.

    def begin(self, session: Kept, pool: Pool) -> None:
        """A session is new, with the state that it has in the pool. Raises `ServeError`, 503."""
        owner, place = (session.id, session.key), None
        try:
            place = session.place = self._records.take(Identity(*owner))
            self._write(place, session, pool)
        except OSError as error:
            session.place = None
            if place is not None:
                self._records.free.append(place.number)
            raise _not_written(error) from None
        self._damaged.discard(owner)
        self._end_over(owner)
        self.forget(*owner)  # one of another target
        for other in self._others():
            other.forget(*owner)
            other._end_over(owner)

    def changed(self, session: Kept, pool: Pool) -> None:
        """Its state is another one. Raises `ServeError`, 503; it is then what it was before."""
        assert session.place is not None
        try:
            self._write(session.place, session, pool)
        except OSError as error:
            self.restore(session, pool)
            raise _not_written(error) from None

    def _write(self, place: Place, session: Kept, pool: Pool) -> None:
        """Its state, without an answer. Raises `OSError`; what was before counts then."""
        self._records.write(place, session.step, b"", pool.save_into, session.handle)
        try:
            self._sync()
        except OSError:
            self._records.undo(place)
            raise

    def record(self, session: Kept, pool: Pool, step: int, outputs: tuple[Array, ...]) -> None:
        """A step has been, which is to be answered with these. Raises `ServeError` as `changed`."""
        assert session.place is not None
        try:
            self._records.write(session.place, step, self._answers.write(outputs), pool.save_into, session.handle)
        except OSError as error:
            self.restore(session, pool)
            raise _not_written(error) from None

    def finish(self, session: Kept, pool: Pool, step: int, outputs: tuple[Array, ...]) -> None:
        """A numbered step has been the last one. Its answer is kept for some time. Raises as `record`."""
        place = session.place
        assert place is not None
        try:
            self._records.finish(place, step, self._answers.write(outputs))
        except OSError as error:
            self.restore(session, pool)
            raise _not_written(error) from None
        session.place = None
        self._over[session.id, session.key] = place.number
        while len(self._over) > _MOST_OVER:
            self._end_over(next(iter(self._over)))

    def _end_over(self, owner: Owner) -> None:
        if (number := self._over.pop(owner, None)) is not None:
            self._end(self._records.place(number, Identity(*owner)))

    def last_step(self, name: Id, key: str | None) -> int | None:
        """Of a session that has ended with a numbered step, for some time: how many steps it had."""
        number = self._over.get((name, key))
        return None if number is None else self._records.head(number).step

    def _sync(self) -> None:
        if self._records.is_synced:
            self._records.sync()

    def sync(self) -> None:
        """Have the disk take what was recorded, if that is asked for. Raises `ServeError`, 503, and then see `undo`."""
        try:
            self._sync()
        except OSError as error:
            raise _not_written(error) from None

    def undo(self, session: Kept, pool: Pool) -> None:
        """Its last step, which was recorded, has not been."""
        owner = (session.id, session.key)
        if session.place is None:  # it was the last one
            session.place = self._records.place(self._over.pop(owner), Identity(*owner))
        self._records.undo(session.place)
        self.restore(session, pool)

    def answers_of(self, answers: Answers) -> "Keeper":
        """The same; its model is served now, and has such answers."""
        self._answers = answers
        return self

    def restore(self, session: Kept, pool: Pool) -> None:
        """Have the session be what its record says."""
        assert session.place is not None
        written = self._records.read(session.place)
        assert written is not None
        pool.load_from(session.handle, written.state)
        session.step = session.next = written.head.step

    def answer(self, session: Kept) -> tuple[Array, ...] | None:
        """Of its last step; None where nothing is kept, as after its state was set."""
        place, owner = session.place, (session.id, session.key)
        if place is None and owner in self._over:
            place = self._records.place(self._over[owner], Identity(*owner))
        written = None if place is None else self._records.read(place)
        return None if written is None or not written.answer else self._answers.read(written.answer)

    def end(self, session: Kept) -> None:
        """It is over."""
        place, session.place = session.place, None
        if place is not None and not self._is_closed:
            self._end(place)

    def _end(self, place: Place) -> None:
        try:
            self._records.end(place)
            self._sync()
        except OSError as error:
            _log.error("the end of a sequence of %s is not on disk: %s", self.name, error)

    # Parking.

    def park(self, session: Kept) -> None:
        """It leaves the pool."""
        place, session.place = session.place, None
        if place is not None:
            self._parked[session.id, session.key] = place.number

    def check_apart(self, name: Id, key: str | None) -> None:
        """Raises `ServeError`, 409, where another model under the same name has it."""
        if any((name, key) in other for other in self._others()):
            raise ServeError(
                409,
                f"sequence {name!r} belongs to another model that was served as {self.name!r} before: serve that model"
                " again, or start the sequence again with sequence_start",
                reason="state",
            )

    def find(self, name: Id, key: str | None) -> tuple[int, Array] | None:
        """The step and the state of one that is parked; None where there is none.

        Raises `ServeError`: 409 where another model under the same name has it, or another target has made it, 410
        where its record is damaged.
        """
        owner = (name, key)
        number = self._parked.get(owner)
        if number is None:
            self.check_apart(name, key)
            if owner in self._damaged:
                raise _damaged(name, self.name)
            return None
        written = self._records.read(self._records.place(number, Identity(*owner)))
        if written is None:
            self.forget(name, key)
            self._damaged.add(owner)
            _log.error("the record of sequence %r of %s is damaged", name, self.name)
            raise _damaged(name, self.name)
        if written.head.target != OWN_TARGET and not self._any_target:
            raise ServeError(
                409,
                f"sequence {name!r} is at step {written.head.step}, with a state from the target"
                f" {target_name(written.head.target)}, but this server runs {TARGET.name}, whose outputs differ in"
                " their last bits: start the server with that FASTGRU_TARGET or with --any-target, or start the"
                " sequence again with sequence_start",
                reason="state",
            )
        return written.head.step, written.state

    def take_up(self, session: Kept) -> None:
        """One that was parked is in the pool."""
        owner = (session.id, session.key)
        session.place = self._records.place(self._parked.pop(owner), Identity(*owner))

    def forget(self, name: Id, key: str | None) -> bool:
        """End one that is parked, if it is."""
        number = self._parked.pop((name, key), None)
        if number is None:
            return False
        self._end(self._records.place(number, Identity(name, key)))
        return True

    def expire(self) -> list[Owner]:
        """End those that have been on disk for too long, and the first ones where there are too many; which."""
        for other in self._others():
            other.drop_old()
        return self.drop_old()

    def drop_old(self) -> list[Owner]:
        """The same of this one alone."""
        over: list[Owner] = []
        oldest = time.time_ns() - int(self.parked_s * 1e9)
        while self._parked:
            owner, number = next(iter(self._parked.items()))
            if len(self._parked) <= self._most and self._records.head(number).used_ns > oldest:
                break
            self.forget(*owner)
            over.append(owner)
        return over

    def close(self) -> None:
        """All is on disk, and nothing is written any more."""
        self.is_closing = self._is_closed = True
        try:
            self._records.close()
        except OSError as error:
            _log.error("the states of %s are not all on disk: %s", self.name, error)


def _not_written(error: OSError) -> ServeError:
    return ServeError(
        503,
        f"the state cannot be written to the state_dir ({error.strerror or error}); it is as it was before",
        reason="state_dir",
        retry_after_s=_RETRY_S,
    )


def _damaged(name: Id, model: str) -> ServeError:
    return ServeError(
        410,
        f"the record of sequence {name!r} of model {model!r} is damaged on disk, and its state is lost: start it again"
        " with sequence_start",
        reason="damaged",
    )
