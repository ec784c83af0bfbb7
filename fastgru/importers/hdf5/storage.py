"""The location and the filters of a dataset's bytes (sections IV.A.2.i, IV.A.2.l and III.A.1)."""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import UnsupportedModelError
from fastgru.importers.hdf5.block import Block, FileForm
from fastgru.importers.hdf5.headers import walk_tree
from fastgru.importers.hdf5.types import Datatype
from fastgru.records import dataclass

__all__ = ["Storage", "read_filters", "read_storage"]

_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = 0, 1, 2, 3
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3


@dataclass(frozen=True)
class Storage:
    """content, held: reader and number of bytes of an unchunked dataset. tree, chunk: address and shape of chunks."""

    form: FileForm
    what: str
    held: int = 0
    content: Callable[[int], memoryview] | None = None
    tree: int = 0
    chunk: tuple[int, ...] = ()
    filters: tuple[int, ...] = ()

    def unpacked(self, shape: tuple[int, ...]) -> int:
        """Return how many values are unpacked for a shape; chunks at an edge count in full. 0 without chunks."""
        return math.prod(-(-s // c) * c for s, c in zip(shape, self.chunk, strict=True)) if self.chunk else 0

    def load(self, shape: tuple[int, ...], datatype: Datatype) -> Array:
        """Return the array, in memory of its own and in native byte order."""
        dtype = datatype.numbers
        assert dtype is not None
        count = math.prod(shape)
        if self.content is not None:
            if self.held < count * dtype.itemsize:
                raise self.form.damaged(f"{self.what} declares {shape} of {dtype}, but has {self.held} bytes")
            array = np.frombuffer(self.content(count * dtype.itemsize), dtype, count).reshape(shape)
            return array.astype(dtype.newbyteorder("="), copy=self.form.data.in_memory)
        array = np.zeros(shape, dtype)
        missing = count
        if count:
            for begin, chunk in self._chunks(shape, dtype):
                where = tuple(slice(b, b + n) for b, n in zip(begin, self.chunk, strict=True))
                part = array[where]
                part[...] = chunk[tuple(slice(0, n) for n in part.shape)]
                missing -= part.size
        if missing:
            raise self.form.damaged(f"{self.what}: {missing} of {count} values are in no chunk, or in two")
        return array.astype(dtype.newbyteorder("="), copy=False)

    def _chunks(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        size = math.prod(self.chunk) * dtype.itemsize
        key_size = 8 + 8 * (len(self.chunk) + 1)
        seen = set[tuple[int, ...]]()
        for key, address in walk_tree(self.form, self.tree, 1, key_size, self.what):
            packed, skipped = key.number(4), key.number(4)
            begin = tuple(key.number(8) for _ in self.chunk)
            if begin in seen or any(b >= s or b % c for b, s, c in zip(begin, shape, self.chunk, strict=True)):
                raise self.form.damaged(f"{self.what} has a chunk at {begin}, twice or outside of {shape}")
            seen.add(begin)
            data = bytes(self.form.values(address, packed, f"a chunk of {self.what}"))
            for n in reversed(range(len(self.filters))):
                if not skipped >> n & 1:
                    data = self._undo(self.filters[n], data, size, dtype.itemsize)
            if len(data) != size:
                raise self.form.damaged(f"a chunk of {self.what} holds {len(data)} bytes, expected {size}")
            yield begin, np.frombuffer(data, dtype).reshape(self.chunk)

    def _undo(self, number: int, data: bytes, size: int, itemsize: int) -> bytes:
        if number == _DEFLATE:
            inflater = zlib.decompressobj()
            try:
                return inflater.decompress(data, size + 4 + 1)
            except zlib.error as error:
                raise self.form.damaged(f"a chunk of {self.what} cannot be inflated ({error})") from None
        if number == _SHUFFLE:
            whole = len(data) // itemsize * itemsize
            mixed = np.frombuffer(data, np.uint8, whole).reshape(itemsize, -1)
            return mixed.T.tobytes() + data[whole:]
        return data[:-4]  # Fletcher-32: the checksum at the end is not checked


def read_filters(block: Block) -> tuple[int, ...]:
    """Return the numbers of the filters, in the order in which they were applied."""
    version, count = block.number(1), block.number(1)
    if version not in (1, 2):
        raise block.form.damaged(f"{block.what}: a filter pipeline of version {version}")
    block.take(6 if version == 1 else 0)
    found = []
    for _ in range(count):
        number = block.number(2)
        name = block.number(2) if version == 1 or number >= 256 else 0
        _, values = block.number(2), block.number(2)
        block.take(name + 4 * values + (4 if version == 1 and values % 2 else 0))
        if number not in (_DEFLATE, _SHUFFLE, _FLETCHER32):
            raise UnsupportedModelError(
                f"{block.form.name}: {block.what} is packed by filter {number}; deflate, shuffle and fletcher32 are"
                " read: h5repack -f GZIP=4, or write it without compression"
            )
        if number in found:
            raise block.form.damaged(f"{block.what} is packed by filter {number} twice")
        found.append(number)
    return tuple(found)


def read_storage(block: Block, rank: int, filters: Sequence[int]) -> Storage:
    """Return the storage that the layout message of a dataset describes."""
    form, what, version = block.form, block.what, block.number(1)
    if version in (1, 2):
        raise UnsupportedModelError(
            f"{form.name}: {what} was written by HDF5 1.6 or older: copy the file with h5repack"
        )
    if version not in (3, 4):
        raise form.damaged(f"{what}: a layout of version {version}")
    kind = block.number(1)
    if kind == _COMPACT:
        compact = block.sub(block.number(2))
        return Storage(form, what, len(compact), lambda n: memoryview(bytes(compact.take(n))))
    if kind == _CONTIGUOUS:
        address, size = block.offset(), block.length()
        return Storage(form, what, size, lambda n: form.values(address, n, what) if n else memoryview(b""))
    if kind == _CHUNKED and version == 3:
        axes, address = block.number(1), block.offset()
        chunk = tuple(block.number(4) for _ in range(axes))[:-1]
        if len(chunk) != rank or 0 in chunk:
            raise form.damaged(f"{what}: chunks of shape {chunk} for {rank} axes")
        return Storage(form, what, tree=address, chunk=chunk, filters=tuple(filters))
    if kind not in (_CHUNKED, _VIRTUAL):
        raise form.damaged(f"{what}: a layout of class {kind}")
    raise UnsupportedModelError(
        f"{form.name}: {what} is {'virtual' if kind == _VIRTUAL else 'chunked as of libver=latest'}, which is not read:"
        " write the file with h5py's default libver, or h5repack it with --high=0"
    )
