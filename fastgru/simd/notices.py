"""What is said on stderr where a start takes long or leaves nothing behind. `FASTGRU_QUIET=1` keeps all of it quiet."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["Progress", "say", "telling", "told_by"]

_PATIENCE_S: Final = 0.3  # of compiling, in a process, before anything is said


def _shown() -> bool:
    return sys.stderr is not None and not os.environ.get("FASTGRU_QUIET")


def say(text: str, end: str = "\n") -> None:
    """On stderr, where there is one: what cannot be said must not keep a model from running."""
    if _shown():
        with contextlib.suppress(OSError, ValueError):
            print(text, end=end, file=sys.stderr, flush=True)


_teller: Callable[[str], None] | None = None


@contextlib.contextmanager
def told_by(teller: Callable[[str], None]) -> Iterator[None]:
    """Within the block, `teller` is called with how far compilations are, and with "" when they are done, and nothing
    is printed: for whoever has a line of the terminal to itself."""
    global _teller
    before, _teller = _teller, teller
    try:
        yield
    finally:
        _teller = before


class Progress:
    """How far several compilations are: one line that counts on a terminal and is gone when they are done, and one in
    all of a process elsewhere, with `more` behind it."""

    said = False
    spent_s = 0.0

    def __init__(self, what: str, total: int, more: str = "") -> None:
        self._what, self._total, self._more, self._done, self._open = what, total, more, 0, True
        self._text = ""
        self._teller = _teller

    def show(self) -> None:
        """Say it for the first time."""
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
        """So many are there. A count that is lower than an earlier one changes nothing."""
        self._done = max(self._done, done)
        if self._text:
            self.show()

    def close(self) -> None:
        """Take the line away."""
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
    """Around compilations: says so where a process spends long on them."""
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
