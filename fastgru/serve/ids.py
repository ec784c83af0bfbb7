"""The names that clients give to sequences."""

from typing import Final

from fastgru.serve.errors import ServeError

__all__ = ["Id", "check_id"]

Id = int | str

_MAX_TEXT: Final = 256


def check_id(name: object) -> Id:
    """Return an id that a client has sent. Raises `ServeError`, 400, if it is not valid."""
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
