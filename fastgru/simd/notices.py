"""What is said on stderr where a start takes long or leaves nothing behind. `FASTGRU_QUIET=1` keeps all of it quiet."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

__all__ = ["Progress", "say", "telling"]

_PATIENCE_S: Final = 0.3  # of compiling, in a process, before anything is said


def _shown() -> bool:
    return sys.stderr is not None and not os.environ.get("FASTGRU_QUIET")


def say(text: str, end: str = "\n") -> None:
    """On stderr, where there is one: what cannot be said must not keep a model from running."""
    if _shown():
        with contextlib.suppress(OSError, ValueError):
            print(text, end=end, file=sys.stderr, flush=True)


class Progress:
    """How far several compilations are: one line that counts on a terminal and is gone when they are done, and one in
    all of a process elsewhere."""

    said = False
    spent_s = 0.0

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done, self._open = what, total, 0, True
        self._text = ""

    def show(self) -> None:
        """Say it for the first time."""
        if not self._open or not _shown():
            return
        if not _is_terminal():
            if not Progress.said:
                Progress.said = True
                say(f"{self._what}...")
            return
        count = f" {min(self._done + 1, self._total)} of {self._total}" if self._total > 1 else ""
        self._text = f"{self._what}...{count}"
        say(f"\r{self._text}", end="")

    def reached(self, done: int) -> None:
        """So many are there."""
        self._done = done
        if self._text:
            self.show()

    def close(self) -> None:
        """Take the line away."""
        self._open = False
        if self._text:
            say("\r" + " " * len(self._text) + "\r", end="")


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


@contextlib.contextmanager
def telling(what: str, total: int = 1) -> Iterator[Progress]:
    """Around compilations: says so where a process spends long on them."""
    progress = Progress(what, total)
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
