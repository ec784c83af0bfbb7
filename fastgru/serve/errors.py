"""The error of a refused request: an HTTP status, a sentence, and a fixed word for programs and metrics."""

from typing import Final

from fastgru.errors import FastGRUError

__all__ = ["INTERNAL", "ServeError", "internal"]

INTERNAL: Final = "the server has an internal error; its log has the cause"


class ServeError(FastGRUError):
    """A request that is not answered with numbers.

    status: the HTTP status. message: for people. reason: a short fixed word. retry_after_s: in how many seconds the
    same request may be taken, None if a retry makes no difference.
    """

    def __init__(self, status: int, message: str, *, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.reason, self.retry_after_s = status, message, reason, retry_after_s


def internal() -> ServeError:
    """Return the error that a client gets for a fault of the server."""
    return ServeError(500, INTERNAL, reason="internal")
