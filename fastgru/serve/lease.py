"""The sequence of a connection: how it is opened, what its client may do with it, and how it ends.

Answers are objects for JSON; `connection` describes them.
"""

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Final

from fastgru.graph import Array
from fastgru.serve.errors import ServeError
from fastgru.serve.fields import Field
from fastgru.serve.ids import check_id
from fastgru.serve.layout import Layout
from fastgru.serve.models import Served
from fastgru.serve.refusals import no_sequences
from fastgru.serve.session import PARKED, Session
from fastgru.serve.sessions import Sessions

__all__ = ["Answer", "Lease", "bad"]

_EVENTS: Final = {
    "closed": ("ended", "a request has ended the sequence"),
    "idle": ("evicted", "the sequence was ended: nobody has used it for too long, and its state is gone"),
    "taken": ("taken", "another connection has taken over the sequence, or started it again"),
    "unloaded": ("unloaded", "the model was unloaded, and its sequences have ended"),
}
_OTHER: Final = "the model was loaded again, and now has other inputs or outputs: connect again"
Answer = dict[str, Any]


def bad(message: str, reason: str = "message") -> ServeError:
    """Return the error for an invalid message."""
    return ServeError(400, message, reason=reason)


class Lease:
    """The sequence of one connection.

    key: the name of the client's API key. most_ns: the longest time within which a frame is to be answered. lost:
    called with an event when the server, or another connection, takes the sequence away.

    served: the model of the frames. session: None if none is open, and for a model without a state. layout: that of the
    frames, None before the first `begin`. limit_ns: the time within which a frame is to be answered. why: the error for
    every frame, None if frames are taken.
    """

    def __init__(self, served: Served, key: str | None, most_ns: int, lost: Callable[[Answer], None]) -> None:
        self._served, self.key, self._most_ns, self._lost = served, key, most_ns, lost
        self._shapes: Any = None
        self.session: Session | None = None
        self.layout: Layout | None = None
        self.limit_ns = most_ns
        self.why: ServeError | None = None

    @property
    def served(self) -> Served:
        session = self.session
        if session is None:
            return self._served
        home: Served = session.home
        return home

    def open(self, given: Answer) -> Answer | None:
        """Do what `begin` does; after a failure, refuse frames, so that none begins another sequence instead."""
        try:
            return self.begin(given)
        except ServeError:
            if self.session is None or self.session.ended:
                self.why = _not_open()
            raise

    def begin(self, given: Answer) -> Answer | None:
        """Open a sequence as `given` says; return the answer, or None while an existing one has jobs in progress.

        Raises `ServeError`: 400 for wrong fields and for a sequence that does not exist, 410 for one that was idle too
        long, 404 if the model was unloaded, 409 if this connection already has a sequence, 503 if there is no room.
        """
        served = self.served
        if not served.latest.is_loaded:
            raise ServeError(404, f"model {served.name!r} is no longer served: connect again", reason="model")
        if self.session is not None and self.session.ended in ("", PARKED):
            raise ServeError(
                409, f"sequence {self.session.id!r} is open on this connection: finalize it first", reason="open"
            )
        served = served.latest
        keep, goes_on, limit = given.get("keep", False), given.get("continue", False), given.get("timeout", 0)
        if type(keep) is not bool or type(goes_on) is not bool:
            raise bad("keep and continue must be true or false")
        if type(limit) is not int or not 0 <= limit < 1 << 63:
            raise bad(f"timeout is {limit!r:.80}, expected microseconds, or 0 for the deadline of the server")
        name, sessions = check_id(given["sequence_id"]) if "sequence_id" in given else None, served.sessions
        found = None
        if goes_on and sessions is not None:
            if name is None:
                raise bad("continue needs the sequence_id of the sequence", "sequence_id")
            found = sessions.get(name, self.key, beginning="an open without continue")
            served = found.home
        self._shapes = given.get("shapes")
        layout = Layout(served, self._shapes)
        if sessions is None:
            if name is not None or keep or goes_on:
                raise no_sequences(served.name, served.can_open)
        elif found is not None:
            self.session = found
        else:
            name = f"stream-{token_hex(8)}" if name is None else name
            if (before := sessions.find(name, self.key)) is not None:
                sessions.end(before, "it was started again")
                if before.on_end is not None:
                    before.on_end("taken")
            sessions.forget(name, self.key)
            self.session = sessions.begin(name, self.key)
        self._served, self.layout, self.why = served, layout, None
        self.limit_ns = min(self._most_ns, limit * 1_000 or self._most_ns)
        if (session := self.session) is not None:
            if session.on_end is not None:
                session.on_end("taken")
            session.keep, session.on_end = keep, self._on_end
            if session.busy:
                return None
        return self._opened(goes_on)

    def settled(self) -> Answer | None:
        """Return the answer after `begin` has returned None, or None again. Raises `ServeError`, 410, if the sequence
        has ended since.
        """
        return None if self._live.busy else self._opened(True)

    def _opened(self, continued: bool) -> Answer:
        answer: Answer = {"type": "opened"}
        if self.session is not None:
            self._sessions.keep_alive(self.session)
            answer |= {"sequence_id": self.session.id, "step": self.session.step, "keep": self.session.keep}
            answer["continued"] = continued
        assert self.layout is not None
        shapes = zip(self.served.inputs, self.layout.shapes, strict=True)
        answer["inputs"] = [_field(field, shape) for field, shape in shapes]
        answer["outputs"] = [_field(field, field.shape) for field in self.served.outputs]
        return answer

    @property
    def _sessions(self) -> Sessions:
        sessions = self.served.sessions
        if sessions is None:
            raise no_sequences(self.served.name, self.served.can_open)
        return sessions

    @property
    def _live(self) -> Session:
        """The live session. Raises `ServeError` if none is open."""
        self._sessions  # noqa: B018 - raises for a model without a state
        if self.why is not None:
            raise self.why
        if self.session is None:
            raise _not_open()
        if self.session.ended:
            self._sessions.revive(self.session)
        return self.session

    def reset(self, given: Answer) -> Answer:
        """Reset the state to zeros. Raises `ServeError`."""
        self._sessions.reset(self._live)
        return {"type": "reset", "step": 0}

    def save(self, given: Answer) -> Answer:
        """Return the state in base64. Raises `ServeError`."""
        session = self._live
        state = b64encode(self._sessions.save(session)).decode()
        return {"type": "saved", "step": session.step, "state": state}

    def load(self, given: Answer) -> Answer:
        """Replace the state by the given one. Raises `ServeError`."""
        session, state = self._live, given.get("state")
        try:
            if type(state) is not str:
                raise ValueError
            saved = b64decode(state, validate=True)
        except (Error, ValueError):
            raise bad("state is not a text in base64", "state") from None
        self._sessions.load(session, saved)
        return {"type": "loaded", "step": session.step}

    def last_answer(self) -> tuple[Array, ...]:
        """Return the outputs of the last frame again. Raises `ServeError`, such as 409 if none are kept."""
        session, keeper = self._live, self.served.keeper
        outputs = None
        if keeper is not None and not session.busy:
            outputs = keeper.answer(session)
        if outputs is None:
            raise ServeError(
                409,
                f"no answer of sequence {session.id!r} is kept: the server keeps answers only with state_dir, and only"
                " of frames that came after the state was set",
                reason="no_answer",
            )
        return outputs

    def keep_alive(self, given: Answer) -> Answer:
        """Mark the sequence as used. Raises `ServeError`."""
        session = self._live
        self._sessions.keep_alive(session)
        return {"type": "alive", "step": session.step}

    def finalize(self, given: Answer) -> Answer:
        """End the sequence. Raises `ServeError`."""
        session = self._live
        session.on_end = None
        self._sessions.end(session, "its client has ended it")
        self.session, self.why = None, _not_open()
        return {"type": "finalized", "step": session.step}

    def changed(self, now: Served | None) -> None:
        """Handle the replacement of the model by `now`, or its unloading if that is None.

        An open sequence keeps its model. Otherwise the next frames are for the new model, if both models have the same
        inputs and outputs.
        """
        before = self._served
        if self.session is not None or self.why is not None:
            return
        if now is not None and self.layout is not None and before.inputs + before.outputs != now.inputs + now.outputs:
            self._lost({"type": "event", "event": "unloaded", "sequence_id": None, "message": _OTHER})
        elif now is not None:
            self._served = now
            self.layout = None if self.layout is None else Layout(now, self._shapes)
        else:
            self._lost({"type": "event", "event": "unloaded", "sequence_id": None, "message": _EVENTS["unloaded"][1]})

    def leave(self) -> None:
        """Give the sequence up: it ends, unless it is to outlive the connection."""
        session, sessions, self.session = self.session, self.served.sessions, None
        if session is not None and sessions is not None:
            session.on_end = None
            sessions.leave(session)
        self.why = _not_open()

    def give_back(self) -> None:
        """Give up a sequence whose `begin` is not answered. It lives on, so that the client can try again."""
        if self.session is not None:
            self.session.keep = True
        self.leave()

    def _on_end(self, reason: str) -> None:
        """Handle the loss of the sequence, which no longer belongs to this connection."""
        event, message = _EVENTS[reason]
        session, self.session = self.session, None
        self.why = ServeError(410, message, reason=event)
        if session is not None:
            self._lost({"type": "event", "event": event, "sequence_id": session.id, "message": message})


def _not_open() -> ServeError:
    return bad('no sequence is open on this connection: send {"type": "open"}', "not_open")


def _field(field: Field, shape: tuple[int, ...] | None) -> Answer:
    return {"name": field.name, "datatype": field.datatype, "shape": shape}
