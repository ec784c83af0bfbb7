"""How long tests wait before they say that something hangs: longer where everything is slow.

FASTGRU_TEST_SLOWNESS says how many times as long all of that may take on this machine, an emulated one for example; the
limits of whole tests, which pytest-timeout keeps, are among it.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["SLOWNESS", "within"]

SLOWNESS: Final = float(os.environ.get("FASTGRU_TEST_SLOWNESS", "1"))


def within(seconds: float) -> float:
    """The seconds that this machine is given for what takes less than `seconds` on an ordinary one, however busy."""
    return seconds * SLOWNESS
