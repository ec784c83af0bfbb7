"""Moving a session to another model, with its state and with its last answer if that is kept."""

from fastgru.serve.errors import ServeError
from fastgru.serve.session import Home, Session
from fastgru.streaming.state_blob import pack_state, unpack_state

__all__ = ["move"]


def move(session: Session, home: Home) -> None:
    """Move a session, which must have no job in progress, to another model; it keeps its state.

    Raises `StateError` if the other model has other states, and `ServeError`, 503, if the session cannot be written to
    disk. The session is then as it was.
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
