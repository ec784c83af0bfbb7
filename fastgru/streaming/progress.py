"""Report the progress of a long call: in a line on a terminal, a line every 10 seconds elsewhere, or to a function."""

import sys
import time
from collections.abc import Callable
from typing import Final, Protocol

from fastgru.errors import ShapeError

__all__ = ["Progress", "Report", "reporter"]

Progress = bool | Callable[[int, int | None], object]  # a function takes the number done, and the total if known

_TERMINAL_S: Final = 0.1
_FILE_S: Final = 10.0


class Report(Protocol):
    """A function that takes how many were done before, how many since, and whether the call has ended."""

    def __call__(self, before: int, since: int, ended: bool = False) -> object: ...


def reporter(progress: Progress, total: int | None) -> Report:
    """Return the function that reports progress. Raises `ShapeError` if `progress` is no bool and no function."""
    if progress is not False and progress is not True and not callable(progress):
        raise ShapeError(f"predict: progress is {progress!r}, expected True, False, or a function of (done, total)")
    begun = last = time.monotonic()
    terminal = sys.stderr is not None and sys.stderr.isatty()

    def report(before: int, since: int, ended: bool = False) -> None:
        nonlocal last
        done, now = before + since, time.monotonic()
        if callable(progress):
            progress(done, total)
        elif progress and done and (ended or now - last >= (_TERMINAL_S if terminal else _FILE_S)):
            last = now
            of = "" if total is None else f" of {total:,}"
            noun = "sequence" if (done if total is None else total) == 1 else "sequences"
            line = f"{done:,}{of} {noun}, {done / max(now - begun, 1e-9):,.0f} a second"
            end = "\n" if ended or not terminal else ""
            sys.stderr.write(f"\r\x1b[K{line}{end}" if terminal else f"{line}{end}")
            sys.stderr.flush()

    return report
