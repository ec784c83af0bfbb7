"""The keeper of one model's sessions: every change of a state is recorded before anybody is told about it.

A session that nobody uses is parked: it gives up its place in the pool and stays on disk, where its next request finds
it. After a start all sessions are parked.
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
_MOST_OVER: Final = 1_024  # ended sessions whose last answers are kept
_log = logging.getLogger("fastgru.serve")


class Kept(Protocol):
    """A session, as far as the keeper uses it. place: where its record is, None if it has no record."""

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
    """The keeper of one model's sessions, used by the thread of the event loop.

    records: those of the model. others: returns the keepers of other models that were served under the same name.
    parked_s: how long an unused session stays on disk. most: how many sessions stay parked. is_closing: the server is
    shutting down, so that sessions do not end with their connections. any_target: whether to take up states that
    another target has made.
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
        self._parked: OrderedDict[Owner, int] = OrderedDict()  # places, in the order in which they were parked
        self._damaged = {(identity.name, identity.key) for identity in records.damaged if identity is not None}
        self._over: OrderedDict[Owner, int] = OrderedDict()  # places of sessions that ended with a numbered step
        for found, by_owner in ((records.found, self._parked), (records.over, self._over)):
            for number, identity, _, _ in found:
                owner = (identity.name, identity.key)
                if owner in by_owner:  # a session with two records: keep the one that was used last
                    records.end(records.place(by_owner.pop(owner), identity))
                by_owner[owner] = number

    def __len__(self) -> int:
        return len(self._parked)

    def __contains__(self, owner: Owner) -> bool:
        return owner in self._parked

    def knows(self, owner: Owner) -> bool:
        """Return whether the session is parked, or its last answer is kept."""
        return owner in self._parked or owner in self._over

    def parked(self, keys: Container[str | None] | None = None) -> Iterator[Parked]:
        """Yield the parked sessions of these keys, by default of all keys, in the order in which they were parked."""
        now = time.time_ns()
        for (name, key), number in self._parked.items():
            if keys is not None and key not in keys:
                continue
            head = self._records.head(number)
            yield Parked(name, key, head.step, max(0.0, (now - head.used_ns) / 1e9))

    def settle(self) -> None:
        """Keep only the record that was used last of a session that other models of this name have, too.

        A process that ends while a session moves from one model to another leaves two records.
        """
        for other in self._others():
            for owner in self._parked.keys() & other._parked.keys():
                mine, theirs = (each._records.head(each._parked[owner]).used_ns for each in (self, other))
                (self if mine < theirs else other).forget(*owner)

    # Records.

    def begin(self, session: Kept, pool: Pool) -> None:
        """Record a new session with its state in the pool. Raises `ServeError`, 503."""
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
        self.forget(*owner)  # a parked one that could not be taken up, such as one of another target
        for other in self._others():
            other.forget(*owner)
            other._end_over(owner)

    def changed(self, session: Kept, pool: Pool) -> None:
        """Record the session's new state. Raises `ServeError`, 503, and restores the state before."""
        assert session.place is not None
        try:
            self._write(session.place, session, pool)
        except OSError as error:
            self.restore(session, pool)
            raise _not_written(error) from None

    def _write(self, place: Place, session: Kept, pool: Pool) -> None:
        """Write the session's state, without an answer. Raises `OSError`; the previous record then counts."""
        self._records.write(place, session.step, b"", pool.save_into, session.handle)
        try:
            self._sync()
        except OSError:
            self._records.undo(place)
            raise

    def record(self, session: Kept, pool: Pool, step: int, outputs: tuple[Array, ...]) -> None:
        """Record a step that is to be answered with these outputs. Raises `ServeError`, as `changed` does."""
        assert session.place is not None
        try:
            self._records.write(session.place, step, self._answers.write(outputs), pool.save_into, session.handle)
        except OSError as error:
            self.restore(session, pool)
            raise _not_written(error) from None

    def finish(self, session: Kept, pool: Pool, step: int, outputs: tuple[Array, ...]) -> None:
        """Record the last step of a session, which is numbered; its answer is kept for some time.

        Raises `ServeError`, as `changed` does.
        """
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
        """Return how many steps an ended session had, or None if its last answer is not kept."""
        number = self._over.get((name, key))
        return None if number is None else self._records.head(number).step

    def _sync(self) -> None:
        if self._records.is_synced:
            self._records.sync()

    def sync(self) -> None:
        """Flush the records to the disk if the settings ask for that.

        Raises `ServeError`, 503; the caller must then `undo` the recorded steps.
        """
        try:
            self._sync()
        except OSError as error:
            raise _not_written(error) from None

    def undo(self, session: Kept, pool: Pool) -> None:
        """Take back the session's last step, which was recorded."""
        owner = (session.id, session.key)
        if session.place is None:  # the step was the last one of the session
            session.place = self._records.place(self._over.pop(owner), Identity(*owner))
        self._records.undo(session.place)
        self.restore(session, pool)

    def answers_of(self, answers: Answers) -> "Keeper":
        """Use these answers, because the model is served now. Returns the keeper itself."""
        self._answers = answers
        return self

    def restore(self, session: Kept, pool: Pool) -> None:
        """Set the session's state and step from its record."""
        assert session.place is not None
        written = self._records.read(session.place)
        assert written is not None
        pool.load_from(session.handle, written.state)
        session.step = session.next = written.head.step

    def answer(self, session: Kept) -> tuple[Array, ...] | None:
        """Return the outputs of the session's last step, or None if none are kept, as after its state was set."""
        place, owner = session.place, (session.id, session.key)
        if place is None and owner in self._over:
            place = self._records.place(self._over[owner], Identity(*owner))
        written = None if place is None else self._records.read(place)
        return None if written is None or not written.answer else self._answers.read(written.answer)

    def end(self, session: Kept) -> None:
        """End the session's record."""
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
        """Keep the record of a session that leaves the pool."""
        place, session.place = session.place, None
        if place is not None:
            self._parked[session.id, session.key] = place.number

    def check_apart(self, name: Id, key: str | None) -> None:
        """Raise `ServeError`, 409, if another model under the same name has the session."""
        if any((name, key) in other for other in self._others()):
            raise ServeError(
                409,
                f"sequence {name!r} belongs to another model that was served as {self.name!r} before: serve that model"
                " again, or start the sequence again with sequence_start",
                reason="state",
            )

    def find(self, name: Id, key: str | None) -> tuple[int, Array] | None:
        """Return the step and the state of a parked session, or None if there is none.

        Raises `ServeError`: 409 if another model under the same name has the session, or if another target has made the
        state; 410 if the record is damaged.
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
        """Give a parked session that is back in the pool its place on disk."""
        owner = (session.id, session.key)
        session.place = self._records.place(self._parked.pop(owner), Identity(*owner))

    def forget(self, name: Id, key: str | None) -> bool:
        """End the parked session, if there is one, and return whether there was."""
        number = self._parked.pop((name, key), None)
        if number is None:
            return False
        self._end(self._records.place(number, Identity(name, key)))
        return True

    def expire(self) -> list[Owner]:
        """End sessions that have been parked for too long, and the oldest if there are too many; return the owners.

        Other models of this name drop their old sessions, too, which are not returned.
        """
        for other in self._others():
            other.drop_old()
        return self.drop_old()

    def drop_old(self) -> list[Owner]:
        """Do what `expire` does, for this model alone."""
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
        """Flush everything to disk, and write nothing after that."""
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
