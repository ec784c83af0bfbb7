"""Where bytes come from: a path, mapped read-only, or bytes given as they are."""

from __future__ import annotations

import mmap
import os
import stat
from os import PathLike
from typing import TypeAlias

from fastgru.errors import InvalidModelError

__all__ = ["Source", "open_source", "source_name"]

Source: TypeAlias = str | PathLike[str] | bytes | bytearray | memoryview


def source_name(source: Source) -> str:
    """What error messages call `source`: the file's name in quotes, or its length where it is bytes."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{memoryview(source).nbytes} bytes>"
    return repr(os.path.basename(os.fspath(source)))


def open_source(source: Source, *, limit: int | None = None) -> memoryview:
    """The bytes of `source`, as a read-only view of one axis.

    A file is mapped, so that nothing is read before it is looked at; the mapping lives as long as the view and the
    arrays made from it. Bytes are viewed without a copy. `limit` bounds the number of bytes.

    Raises `InvalidModelError` for an empty source, a directory, a pipe or device, or more than `limit` bytes;
    `FileNotFoundError` and `PermissionError` pass through as they are.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        view = memoryview(source).cast("B").toreadonly()
    else:
        with open(source, "rb", opener=_open_regular) as file:
            empty = os.fstat(file.fileno()).st_size == 0
            view = memoryview(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if not view.nbytes:
        raise InvalidModelError(f"{source_name(source)}: empty, expected a model or weights")
    if limit is not None and view.nbytes > limit:
        raise InvalidModelError(f"{source_name(source)}: {view.nbytes} bytes, expected at most {limit}")
    return view


def _open_regular(path: str, flags: int) -> int:
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    fd = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise InvalidModelError(f"{os.path.basename(path)!r}: {kind}, expected a file that holds a model or weights")
    return fd
