"""Numbers with their units, and other words that several commands and reports share."""

import importlib.metadata
import itertools
import math
from collections.abc import Sequence

__all__ = ["bars", "bytes_of", "counted", "kernels_used", "time_of", "version_of"]


def bars(errors: Sequence[float], largest: float, *, width: int = 16) -> str:
    """Return the errors over time as a row of bars. A bar stands for an equal share of the steps; the highest bar has
    full height. One step gives "". largest: stands for errors that are not finite.
    """
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
    """Return the installed version of a package, or None, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def counted(count: int, what: str) -> str:
    """2, "node" -> "2 nodes"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def kernels_used() -> str:
    """Return a text with the kernels that this process has run, and the target for which they were built."""
    from fastgru.kernels.table import table
    from fastgru.simd.target import TARGET

    rows = [(op, dtype, state) for op, dtype, _, state in table() if state != "unused"]
    names = ", ".join(f"{op}_{dtype}" for op, dtype, _ in rows)
    compiled = sum(state == "compiled" for *_, state in rows)
    origin = f"{compiled} compiled now" if compiled else "all from the cache"
    return f"{names} ({TARGET.short}; {origin})"
