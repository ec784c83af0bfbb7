"""Where bytes come from: a file, read through one descriptor into private memory, or bytes given as they are.

    with opened("model.onnx") as content:
        content[:8]                 # a few bytes of a header
        content.read(128, 4096)     # the bytes of a tensor

A function that takes a `Source` takes what `opened` gave, too, so that whoever calls several of them opens a file once.
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

_WINDOW: Final = 8192  # bytes that are read at once where few are asked for
_MOST_AT_ONCE: Final = 1 << 30  # macOS reads less than 2 GiB in a call
_ALIGNMENT: Final = 64


class Content:
    """The bytes of a source: `content[a:b]` and `content.read(a, b)` are read-only views of bytes `a` to `b`.

    name: what error messages call the source. path: of the file, None where it came as bytes. in_memory: whether
    `read` gives views of memory that belongs to somebody else. stored: the size of the file that it was unpacked from,
    or its own: what is unpacked from it in turn is measured by that.
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
        """For headers and the like: a file keeps what it read last, so that the next bytes cost no call."""
        return self._data[where]

    @property
    def stored(self) -> int:
        return len(self) if self._stored is None else self._stored

    @property
    def stamp(self) -> tuple[int, int]:
        """Size and time of writing: what tells one state of a file from another."""
        return len(self), 0

    def read(self, begin: int = 0, end: int | None = None) -> memoryview:
        """For tensors and whole files: of a file, in memory of its own that starts on a multiple of 64 bytes.

        Raises `InvalidModelError` where the file has become shorter, or memory does not hold so much.
        """
        return self._data[begin:end]

    def tobytes(self) -> bytes:
        """All of it, for parsers that take nothing but `bytes`: of a file, without a second copy."""
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
        """Raise `InvalidModelError` where the file is not as it was when it was opened."""
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
    """What error messages call `source`: the file's name in quotes, or its length where it is bytes."""
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
    """The content of `source`, to be read inside the block; the file is closed after it.

    Bytes are viewed without a copy; what others can write, such as a bytearray, is copied. `limit` bounds the number of
    bytes.

    Raises `InvalidModelError` for what is neither a path nor bytes, an empty source, a directory, a pipe or device,
    more than `limit` bytes, and at the end of the block for a file whose size or time of writing has changed meanwhile;
    `UnsupportedModelError` for the directory of a SavedModel;
    `FileNotFoundError` and `PermissionError` pass through as they are.
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
    """All bytes of `source`, as a read-only view of one axis; raises as `opened`."""
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
