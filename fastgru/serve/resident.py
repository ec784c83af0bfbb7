"""Memory that is not needed any more once a server has started."""

import ctypes
import re
import sys
from pathlib import Path
from typing import Final

__all__ = ["give_back_code"]

_MADV_DONTNEED: Final = 4
_MAPPING: Final = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) r-.*libllvmlite.*\n(?:(?![0-9a-f]+-).*\n)*?Anonymous: +0 kB$", re.M
)


def give_back_code() -> None:
    """Drop the pages of LLVM, which has linked the kernels: some 40 MB of what is resident, on Linux.

    Those are dropped that nobody has written to. They are as they are in the file of the library, and are mapped again
    where a new shape has LLVM run once more.
    """
    if not sys.platform.startswith("linux"):
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for mapping in _MAPPING.finditer(Path("/proc/self/smaps").read_text(errors="replace")):
        begin, end = int(mapping[1], 16), int(mapping[2], 16)
        advise(begin, end - begin, _MADV_DONTNEED)
