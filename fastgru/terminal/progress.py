"""Shows the progress of a command on standard error.

On a terminal this is a line that is redrawn, and erased at the end. Elsewhere it is a line every 10 seconds. A quiet
command prints nothing.
"""

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
_SPINNER: Final = 4  # columns beside the text, including one at the end for the cursor


@contextmanager
def progress(text: str = "", *, every_s: float = _EVERY_S, compiles: bool = False) -> Iterator[Callable[[str], None]]:
    """Show `text` inside the block, or the text that the yielded function was last called with.

    While kernels are compiled, a terminal shows that instead. compiles: the text is already about the compilation.
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
    """Ignore the text."""


def _line(text: str, width: int) -> str:
    """Return one line that fits the terminal, because a line that wraps is not erased whole. Escape brackets."""
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
