"""How far a command is, on standard error: a line that is drawn again and erased at the end on a terminal, and a line
every 10 seconds elsewhere. A quiet command says nothing."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Final

from fastgru.simd.notices import told_by
from fastgru.terminal.consoles import is_interactive, is_quiet, stderr
from fastgru.terminal.tables import shorten

__all__ = ["progress"]

_EVERY_S: Final = 10.0
_SPINNER: Final = 4  # columns beside the text, with one at the end for the cursor


@contextmanager
def progress(text: str = "", *, every_s: float = _EVERY_S, compiles: bool = False) -> Iterator[Callable[[str], None]]:
    """Within the block, `text`, or what the function that is given here was last called with, is what is going on.

    While kernels are compiled, a terminal tells of them instead. compiles: the text is about them already.
    """
    if is_quiet():
        yield lambda text: None
    elif is_interactive(sys.stderr):
        console, now = stderr(), [text, ""]
        with console.status(_line(text, console.width)) as status:

            def tell(place: int, text: str) -> None:
                now[place] = text
                status.update(_line(now[1] or now[0], console.width))

            with told_by(_nobody if compiles else partial(tell, 1)):
                yield partial(tell, 0)
    else:
        with _lines(text, every_s) as tell_lines, told_by(_nobody) if compiles else nullcontext():
            yield tell_lines


def _nobody(text: str) -> None:
    """For what need not be told."""


def _line(text: str, width: int) -> str:
    """One line, whatever the terminal: a line that wraps is not erased whole. Brackets are no markup."""
    return shorten(text, max(8, width - _SPINNER)).replace("[", "\\[")


@contextmanager
def _lines(text: str, every_s: float) -> Iterator[Callable[[str], None]]:
    now, done, began = [text], threading.Event(), time.monotonic()

    def say() -> None:
        while not done.wait(every_s):
            if now[0]:
                print(f"{now[0]} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)

    teller = threading.Thread(target=say, name="fastgru-progress", daemon=True)
    teller.start()
    try:
        yield lambda text: now.__setitem__(0, text)
    finally:
        done.set()
        teller.join()
