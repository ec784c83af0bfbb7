"""What all that prints shares: the consoles, numbers with units, the message of a first compilation."""

import importlib.metadata
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = [
    "bars",
    "bytes_of",
    "compiling",
    "counted",
    "kernels_used",
    "plain_table",
    "stderr",
    "stdout",
    "time_of",
    "version_of",
]

_FILE_WIDTH: Final = 160


def stdout(*, wide: bool = True) -> Console:
    """wide: tables that go into a file or a pipe are not squeezed into the 80 columns of no terminal."""
    console = Console(highlight=False)
    if wide and not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_WIDTH
    return console


def stderr() -> Console:
    """For progress and notes, so that standard output holds results only."""
    return Console(stderr=True, highlight=False)


def plain_table(
    *columns: str, rows: Iterable[Iterable[str | Text]] = (), right: tuple[str, ...] = (), title: str | None = None
) -> Table:
    """A table in the look of all our tables; `right` names the columns of numbers."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def bars(errors: Sequence[float], largest: float, *, width: int = 16) -> str:
    """The errors over time as a row of bars, each a share of the steps, full height being the largest; "" for one."""
    if len(errors) < 2:
        return ""
    finite = [e if math.isfinite(e) else largest for e in errors]
    top = max(finite)
    if not top or not math.isfinite(top):
        return "▁" * min(width, len(finite))
    count = min(width, len(finite))
    cuts = [len(finite) * i // count for i in range(count + 1)]
    peaks = [max(finite[a:b]) for a, b in itertools.pairwise(cuts)]
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * peak / top))] for peak in peaks)


def bytes_of(count: float) -> str:
    """1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def time_of(seconds: float) -> str:
    """0.0000123 -> "12.3 us"; three digits, from nanoseconds to seconds."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}" if seconds * scale < 999.5 else f"{seconds * scale:.0f} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def version_of(package: str) -> str | None:
    """The installed version, None where it is absent. Nothing is imported for this."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def counted(count: int, what: str) -> str:
    """2, "node" -> "2 nodes"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


@contextmanager
def compiling() -> Iterator[None]:
    """Around the first use of kernels: say what is happening where nothing is cached yet."""
    from fastgru.simd.cache import describe

    console = stderr()
    cache = describe()
    if cache["entries"] or cache["prebuilt"]:
        yield
        return
    once = f"once, then they come from {cache['directory']}"
    message = f"Compiling the kernels for this CPU: {cache['problem'] or once}"
    if not console.is_terminal:
        console.print(message, soft_wrap=True)
    with console.status(message) if console.is_terminal else nullcontext():
        yield


def kernels_used() -> str:
    """The kernels that this process has run, and the target they were built for."""
    from fastgru.kernels.table import table
    from fastgru.simd.target import TARGET

    rows = [(op, dtype, state) for op, dtype, _, state in table() if state != "unused"]
    names = ", ".join(f"{op}_{dtype}" for op, dtype, _ in rows)
    compiled = sum(state == "compiled" for *_, state in rows)
    origin = f"{compiled} compiled now" if compiled else "all from the cache"
    return f"{names} ({TARGET.short}; {origin})"
