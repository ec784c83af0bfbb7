"""How far a command is, on standard error: a line that is drawn again and erased at the end on a terminal, and a line
every 10 seconds elsewhere. A quiet command says nothing."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from fastgru.terminal.consoles import is_interactive, is_quiet, stderr
from fastgru.terminal.tables import shorten

__all__ = ["compiling", "progress"]

_EVERY_S: Final = 10.0
_SPINNER: Final = 4  # columns beside the text, with one at the end for the cursor


@contextmanager
def progress(text: str = "", *, every_s: float = _EVERY_S) -> Iterator[Callable[[str], None]]:
    """Within the block, `text`, or what the function that is given here was last called with, is what is going on."""
    if is_quiet():
        yield lambda text: None
    elif is_interactive(sys.stderr):
        console = stderr()
        with console.status(_line(text, console.width)) as status:
            yield lambda text: status.update(_line(text, console.width))
    else:
        with _lines(text, every_s) as tell:
            yield tell


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


@contextmanager
def compiling() -> Iterator[None]:
    """Around the first use of kernels: say what is happening where nothing is cached yet."""
    from fastgru.simd.cache import describe

    cache = describe()
    if cache["entries"] or cache["prebuilt"]:
        yield
        return
    once = f"this happens once, then they come from {cache['directory']}"
    with progress(f"Compiling the kernels for this CPU: {cache['problem'] or once}"):
        yield
