"""Where bytes come from: a file, read through one descriptor into private memory, or bytes that the caller passes.

    with opened("model.onnx") as content:
        content[:8]                 # a few bytes of a header
        content.read(128, 4096)     # the bytes of a tensor

A function that takes a `Source` also takes the result of `opened`, so a caller of several such functions opens a file
once.
"""

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Final, TypeAlias

import numpy as np

from fastgru.errors import FastGRUError, InvalidModelError, UnsupportedModelError
from fastgru.kinds import way_of_file

__all__ = ["Content", "Source", "opened", "read_source", "source_name"]

_WINDOW: Final = 8192  # bytes to read at once if fewer are needed
_MOST_AT_ONCE: Final = 1 << 30  # macOS reads less than 2 GiB in a call
_ALIGNMENT: Final = 64


class Content:
    """The bytes of a source: `content[a:b]` and `content.read(a, b)` are read-only views of bytes `a` to `b`.

    name: the name of the source in error messages.
    path: that of the file, or None for bytes.
    in_memory: whether `read` returns views of memory that belongs to the caller.
    stored: the size of the file, or of the file that these bytes were unpacked from. It bounds what may be unpacked
        from them in turn.
    """

    path: str | None = None
    in_memory = True

    def __init__(self, data: memoryview, name: str, *, stored: int | None = None) -> None:
        self.name = name
        self._data = data
        self._stored = stored

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, where: slice) -> memoryview:
        """Return a few bytes, such as a header. A file keeps what it read last, so the next bytes need no call."""
        return self._data[where]

    @property
    def stored(self) -> int:
        return len(self) if self._stored is None else self._stored

    @property
    def stamp(self) -> tuple[int, int]:
        """The size and the time of writing, which distinguish one state of a file from another."""
        return len(self), 0

    def read(self, begin: int = 0, end: int | None = None) -> memoryview:
        """Return bytes of a tensor or a whole file; those of a file are in new memory, aligned to 64 bytes.

        Raises `InvalidModelError` if the file became shorter, or memory cannot hold so much.
        """
        return self._data[begin:end]

    def tobytes(self) -> bytes:
        """Return everything, for parsers that take only `bytes`. The bytes of a file are not copied a second time."""
        whole = self._data.obj
        return whole if type(whole) is bytes and len(whole) == len(self._data) else bytes(self._data)


class _File(Content):
    in_memory = False

    def __init__(self, path: str) -> None:
        self.path, self.name, self._stored = path, source_name(path), None
        self._file = io.FileIO(path, "rb", opener=_open_regular)
        self._size, self._modified_ns = self._stamp_now()
        self._begin, self._window = 0, memoryview(b"")

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, where: slice) -> memoryview:
        begin, end, _ = where.indices(self._size)
        if end - begin > _WINDOW:
            return self.read(begin, end)
        if not self._begin <= begin <= end <= self._begin + len(self._window):
            self._window = self.read(begin, min(begin + _WINDOW, self._size))
            self._begin = begin
        return self._window[begin - self._begin : max(end, begin) - self._begin]

    def read(self, begin: int = 0, end: int | None = None) -> memoryview:
        begin, end, _ = slice(begin, end).indices(self._size)
        size = max(end - begin, 0)
        try:
            memory = np.empty(size + _ALIGNMENT, np.uint8)
        except (MemoryError, ValueError):
            raise InvalidModelError(
                f"{self.name}: the file has {size} bytes to read, more than memory can hold"
            ) from None
        start = -memory.ctypes.data % _ALIGNMENT
        view, done = memory[start : start + size].data, 0
        while done < size:
            count = _read_at(self._file, view[done : done + _MOST_AT_ONCE], begin + done)
            if not count:
                self.check()
                raise InvalidModelError(
                    f"{self.name}: the file ends at byte {begin + done}, expected {self._size} bytes"
                )
            done += count
        return view.toreadonly()

    @property
    def stamp(self) -> tuple[int, int]:
        return self._size, self._modified_ns

    def tobytes(self) -> bytes:
        self._file.seek(0)
        data = self._file.readall()
        if len(data) != self._size:
            self.check()
        return data

    def check(self) -> None:
        """Raise `InvalidModelError` if the file has changed since it was opened."""
        size, modified_ns = self._stamp_now()
        if size != self._size:
            raise InvalidModelError(
                f"{self.name}: the file changed while it was read: it has {size} bytes, and had {self._size} when it"
                " was opened"
            )
        if modified_ns != self._modified_ns:
            raise InvalidModelError(
                f"{self.name}: changed while it was read: written at {modified_ns} ns, at {self._modified_ns} when it"
                " was opened"
            )

    def close(self) -> None:
        self._file.close()

    def _stamp_now(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


Source: TypeAlias = str | PathLike[str] | bytes | bytearray | memoryview | Content


def source_name(source: Source) -> str:
    """Return the name of `source` in error messages: the name of the file in quotes, or the number of bytes."""
    if isinstance(source, Content):
        return source.name
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{memoryview(source).nbytes} bytes>"
    return repr(os.path.basename(_path(source)))


def _path(source: str | PathLike[str]) -> str:
    try:
        return os.fsdecode(source)
    except TypeError:
        raise InvalidModelError(
            f"source: got {type(source).__name__}, expected the path of a file, or its bytes{way_of_file(source)}"
        ) from None


@contextmanager
def opened(source: Source, *, limit: int | None = None) -> Iterator[Content]:
    """Open `source` for reading inside the block; a file is closed after the block.

    Immutable bytes are viewed without a copy. Other buffers, such as a bytearray, are copied, because others may write
    to them. `limit` bounds the number of bytes.

    Raises `InvalidModelError` for a source that is neither a path nor bytes, an empty source, a directory, a pipe or
    device, more than `limit` bytes, and, at the end of the block, for a file whose size or time of writing changed.
    Raises `UnsupportedModelError` for the directory of a SavedModel. `FileNotFoundError` and `PermissionError` pass
    through.
    """
    if isinstance(source, Content):
        yield _within(source, limit)
    elif isinstance(source, bytes | bytearray | memoryview):
        yield _within(Content(memoryview(bytes(source)), source_name(source)), limit)
    else:
        content = _File(_path(source))
        try:
            yield _within(content, limit)
            content.check()
        except FastGRUError as error:
            try:
                content.check()
            except InvalidModelError as changed:
                raise changed from error
            raise
        finally:
            content.close()


def read_source(source: Source, *, limit: int | None = None) -> memoryview:
    """Return all bytes of `source` as a read-only view with one axis. Raises the errors of `opened`."""
    with opened(source, limit=limit) as content:
        return content.read()


def _within(content: Content, limit: int | None) -> Content:
    if not len(content):
        raise InvalidModelError(f"{content.name}: the file is empty, expected a model or weights")
    if limit is not None and len(content) > limit:
        raise InvalidModelError(f"{content.name}: the file has {len(content)} bytes, expected at most {limit}")
    return content


def _open_regular(path: str, flags: int) -> int:
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    fd = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        if os.path.exists(os.path.join(path, "saved_model.pb")):
            raise UnsupportedModelError(
                f"{os.path.basename(path)!r}: this is the folder of a TensorFlow SavedModel, which is not read: convert"
                " it with python -m tf2onnx.convert --saved-model, or save the model as .keras"
            )
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise InvalidModelError(f"{os.path.basename(path)!r}: this is {kind}, expected a file with a model or weights")
    return fd


def _read_at(file: io.FileIO, into: memoryview, offset: int) -> int:
    if sys.platform == "win32":
        file.seek(offset)
        return file.readinto(into) or 0
    return os.preadv(file.fileno(), [into], offset)
