"""Notices on stderr if a start takes long, or if kernels cannot be kept. `FASTGRU_QUIET=1` silences all of them."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["Progress", "say", "telling", "told_by"]

_PATIENCE_S: Final = 0.3  # time that a process may compile before a notice


def _shown() -> bool:
    return sys.stderr is not None and not os.environ.get("FASTGRU_QUIET")


def say(text: str, end: str = "\n") -> None:
    """Print to stderr, if there is one. An error in printing must not keep a model from running."""
    if _shown():
        with contextlib.suppress(OSError, ValueError):
            print(text, end=end, file=sys.stderr, flush=True)


_teller: Callable[[str], None] | None = None


@contextlib.contextmanager
def told_by(teller: Callable[[str], None]) -> Iterator[None]:
    """Within the block, call `teller` with the progress of compilations, and with "" at the end, instead of printing.

    It is for callers that use a line of the terminal themselves.
    """
    global _teller
    before, _teller = _teller, teller
    try:
        yield
    finally:
        _teller = before


class Progress:
    """The progress of several compilations.

    On a terminal it is a line that counts and disappears at the end. Elsewhere it is one line for the whole process,
    followed by `more`.
    """

    said = False
    spent_s = 0.0

    def __init__(self, what: str, total: int, more: str = "") -> None:
        self._what, self._total, self._more, self._done, self._open = what, total, more, 0, True
        self._text = ""
        self._teller = _teller

    def show(self) -> None:
        """Show the progress; later calls of `reached` update it."""
        if not self._open or not _shown():
            return
        if self._teller is None and not _is_terminal():
            if not Progress.said:
                Progress.said = True
                say(f"fastgru: {self._what}{self._more}")
            return
        count = f": {min(self._done + 1, self._total)} of {self._total}" if self._total > 1 else ""
        self._text = f"{self._what}{count}"
        if self._teller is None:
            say(f"\rfastgru: {self._text}", end="")
        else:
            self._teller(self._text)

    def reached(self, done: int) -> None:
        """Record that `done` compilations are complete. A lower number than before changes nothing."""
        self._done = max(self._done, done)
        if self._text:
            self.show()

    def close(self) -> None:
        """Remove the line."""
        self._open = False
        if self._text and self._teller is None:
            say("\r" + " " * len(f"fastgru: {self._text}") + "\r", end="")
        elif self._text and self._teller is not None:
            self._teller("")


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


@contextlib.contextmanager
def telling(what: str, total: int = 1, more: str = "") -> Iterator[Progress]:
    """Return a context for compilations, which reports them if the process spends long on them."""
    progress = Progress(what, total, more)
    timer = threading.Timer(max(0.0, _PATIENCE_S - Progress.spent_s), progress.show)
    timer.daemon = True
    started = time.monotonic()
    timer.start()
    try:
        yield progress
    finally:
        timer.cancel()
        progress.close()
        Progress.spent_s += time.monotonic() - started
