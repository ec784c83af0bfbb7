"""Sequences by their own paths: the list of them, their states as bytes, forks, resets and ends."""

import time
from typing import Any, Final
from urllib.parse import parse_qsl

from fastgru.serve.app import Answer, Request, json_answer
from fastgru.serve.durable.keeper import Parked
from fastgru.serve.errors import ServeError
from fastgru.serve.ids import Id, check_id
from fastgru.serve.models import Served
from fastgru.serve.refusals import no_sequences
from fastgru.serve.session import Session
from fastgru.serve.sessions import Sessions
from fastgru.serve.text import read_json
from fastgru.serve.v2.request import bad, sequence_of

__all__ = ["end", "fork", "index", "load", "reset", "save", "show", "shown"]

_BYTES: Final = (b"content-type", b"application/octet-stream")
_STEP: Final = b"sequence-step"
_MOST_DIGITS: Final = 18


async def index(served: Served, request: Request) -> Answer:
    """List the sequences of the client's key; an administrator sees all, or those of one key."""
    sessions, key = _sessions(served), _key(request)
    of_all = request.identity.is_admin and not request.query
    listed = [shown(session) for session in (sessions if of_all else sessions.of(key))]
    listed += [_parked(home, each) for home, each in sessions.parked(None if of_all else (key,))]
    return json_answer({"sequences": listed, "capacity": sessions.capacity})


async def show(served: Served, request: Request) -> Answer:
    """Show the sequence: its id and key, its step, its times, and whether it outlives its connection."""
    return json_answer(shown(_session(served, request)))


async def end(served: Served, request: Request) -> Answer:
    """End the sequence."""
    sessions, name, key = _sessions(served), _id(request), _key(request)
    if not sessions.forget(name, key):
        session = _session(served, request)
        sessions.end(session)
        if session.on_end is not None:
            session.on_end("closed")
    return json_answer({"id": name})


async def save(served: Served, request: Request) -> Answer:
    """Answer with the state, as `Stream.save_state` writes it, and with how many steps have led to it."""
    session = _session(served, request)
    body = _sessions(served).save(session)
    return Answer(200, [_BYTES, (_STEP, b"%d" % session.step), (b"content-length", b"%d" % len(body))], body)


async def load(served: Served, request: Request) -> Answer:
    """Load a state into the sequence, which begins if it does not exist.

    An administrator may begin a sequence of another key only if the key is in the file of keys.
    """
    body = await request.body()
    sessions, key, name = _sessions(served), _key(request), _id(request)
    if key not in (request.identity.key, *request.identity.keys) and not sessions.exists(name, key):
        raise ServeError(
            404, f"there is no key {key!r:.80}, and no sequence {name!r:.80} of it to load a state into", reason="key"
        )
    return json_answer(shown(sessions.begin(name, key, body, step=_step(request))))


async def fork(served: Served, request: Request) -> Answer:
    """Fork the sequence. The body has the id of the new one: {"id": 7}."""
    given = read_json(await request.body(), what="the request")
    if type(given) is not dict or given.keys() != {"id"}:
        raise bad('the body of a fork must be an object with only the id of the new sequence: {"id": 7}')
    return json_answer(shown(_sessions(served).fork(_session(served, request), check_id(given["id"]))))


async def reset(served: Served, request: Request) -> Answer:
    """Reset the state to zeros."""
    session = _session(served, request)
    _sessions(served).reset(session)
    return json_answer(shown(session))


def _step(request: Request) -> int | None:
    """Return how many steps have led to the state, from the header, or None if there is none."""
    text = request.headers.get(_STEP)
    if text is not None and not (text.isdigit() and len(text) <= _MOST_DIGITS):
        raise bad(f"the header Sequence-Step is {text!r:.80}, expected a whole number of steps", "step")
    return None if text is None else int(text)


def _sessions(served: Served) -> Sessions:
    if served.sessions is None:
        raise no_sequences(served.name, served.can_open)
    return served.sessions


def _id(request: Request) -> Id:
    return sequence_of(request.names["id"])


def _key(request: Request) -> str | None:
    """Return the key of the sequence: the client's own, or NAME for ?key=NAME, which takes an administrator."""
    if not request.query:
        return request.identity.key
    try:
        given = parse_qsl(request.query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise bad("the URL has more than 16 parameters, expected only key, once") from None
    if len(given) != 1 or given[0][0] != "key":
        raise bad(f"the URL has {', '.join([f'{name!r:.80}' for name, _ in given[:4]])}, expected only key, once")
    ((_, key),) = given
    if key != request.identity.key and not request.identity.is_admin:
        raise ServeError(403, "only the role admin may use the sequences of other keys", reason="role")
    return key


def _session(served: Served, request: Request) -> Session:
    try:
        return _sessions(served).get(_id(request), _key(request))
    except ServeError as error:
        if error.reason != "unknown_sequence":
            raise
        raise ServeError(
            404, f"model {served.name!r} has no sequence {_id(request)!r}", reason="unknown_sequence"
        ) from None


def shown(session: Session) -> dict[str, Any]:
    """Return what clients see of a sequence."""
    now = time.monotonic_ns()
    return {
        "id": session.id,
        "key": session.key,
        "step": session.step,
        "age_seconds": (now - session.began_ns) / 1e9,
        "idle_seconds": (now - session.last_used_ns) / 1e9,
        "keep": session.keep,
        "fingerprint": session.home.fingerprint,
        "parked": False,
    }


def _parked(home: Any, parked: Parked) -> dict[str, Any]:
    """Return the same for a sequence that is only on disk."""
    return parked._asdict() | {"keep": True, "fingerprint": home.fingerprint, "parked": True}
