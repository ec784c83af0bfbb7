"""Claims on sessions: each is for one call at a time, and calls of other sessions run beside it.

A call claims its sessions, and gives them up however it ends. A child of a fork lacks the calls of its parent, so it
owes their claims nothing.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from fastgru.errors import SessionError, StateError
from fastgru.process import EPOCH, process, short_lock

__all__ = ["Claims"]

_Result = TypeVar("_Result")
_lock = short_lock()


class _Claim:
    """What a call holds its sessions by. epoch: of the process."""

    def __init__(self) -> None:
        self.epoch, self.over = int(process[EPOCH]), False


class Claims:
    """Of the sessions of one pool. rows: where the states lie of those that are open."""

    def __init__(self, rows: Mapping[int, int]) -> None:
        self._rows = rows
        self._claims: dict[int, _Claim] = {}

    def alone(self, sessions: Collection[int], use: Callable[[list[int]], _Result]) -> _Result:
        """What `use` makes of the rows of these sessions, which no other call uses meanwhile.

        Raises `SessionError` for a session that is not open, `StateError` for one that another call is using.
        """
        claim = _Claim()
        try:
            return use(self._claim(sessions, claim))
        finally:
            claim.over = True  # an exception of a signal handler comes before this assignment or after it

    def _claim(self, sessions: Collection[int], claim: _Claim) -> list[int]:
        with _lock:
            rows = [self._row(session) for session in sessions]
            for session in sessions:
                other = self._claims.get(session)
                if other is not None and not other.over and other.epoch == process[EPOCH]:
                    raise StateError(
                        f"session {session} is in use: another thread, or the call that a signal handler interrupts,"
                        " has not done with it"
                    )
            self._claims.update(dict.fromkeys(sessions, claim))
        return rows

    def _row(self, session: int) -> int:
        try:
            return self._rows[session]
        except (KeyError, TypeError):
            raise SessionError(f"session {session!r} is not open; there are {len(self._rows)} open sessions") from None

    def forget(self, session: int) -> None:
        """It is closed, and its number is not used again."""
        self._claims.pop(session, None)
