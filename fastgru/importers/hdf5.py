"""HDF5 files, read without trusting them: every dataset and link is looked at before a byte of it is loaded.

    with Hdf5(source) as file:
        file.datasets                       # path -> shape, for every dataset of the file
        file.read("model_weights/gru/kernel:0")
        file.text("/", "model_config")      # a string attribute, or None

Links that leave the file (external and soft links, external storage, virtual datasets) and filters that HDF5 would load
as plugins are refused: an HDF5 file can make the library open other files and shared objects.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import FastGRUError, InvalidModelError, UnsupportedModelError
from fastgru.sources import Source, open_source, source_name

__all__ = ["MAX_OBJECTS", "Hdf5"]

Array = NDArray[Any]
T = TypeVar("T")

MAX_OBJECTS: Final = 100_000
MAX_DEPTH: Final = 64

# What all compressed datasets of a file may grow to: this, and 20 times the file's own size.
INFLATE_ALLOWANCE: Final = 256 << 20
INFLATE_RATIO: Final = 20
MAX_CHUNK: Final = 256 << 20

# deflate, shuffle, fletcher32, nbit, scale-offset: part of the library, they load nothing.
_FILTERS: Final = frozenset({1, 2, 3, 5, 6})


class Hdf5:
    """An HDF5 file as paths, arrays and string attributes.

    Raises `UnsupportedModelError` where h5py is missing or the file uses a feature named above, `InvalidModelError` for
    what is damaged: whatever the HDF5 library reports, sizes that do not fit the file, groups in a cycle.
    """

    def __init__(self, source: Source, *, name: str | None = None) -> None:
        try:
            import h5py
        except ImportError:
            raise UnsupportedModelError(
                'reading HDF5 files (.h5, .hdf5, .keras) needs h5py: pip install "fastgru[keras]"'
            ) from None
        self._h5py = h5py
        self.name = source_name(source) if name is None else name
        data = open_source(source)
        self._size = len(data)
        self._plain_left = len(data)
        self._inflatable = INFLATE_ALLOWANCE + INFLATE_RATIO * len(data)
        self._file = self._guarded("the file", lambda: h5py.File(_View(data), "r"))
        try:
            self._handles = self._guarded("the groups", self._walk)
        except FastGRUError:
            self.close()
            raise
        self.datasets: Mapping[str, tuple[int, ...]] = {path: d.shape for path, d in self._handles.items()}

    def __enter__(self) -> Hdf5:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; arrays that were read stay."""
        self._guarded("closing", self._file.close)

    def read(self, path: str) -> Array:
        """The dataset at `path`, in the byte order of the machine; bfloat16 as `ml_dtypes.bfloat16`."""
        dataset = self._handles[path]
        return self._guarded(f"dataset {path!r}", lambda: self._load(path, dataset))

    def has_group(self, path: str) -> bool:
        """True where `path` is a group of the file, empty or not."""
        return path in self._groups

    def text(self, group: str, attribute: str) -> str | None:
        """The string attribute of a group ("/" is the root), None where there is none."""
        return self._guarded(f"attribute {attribute!r} of {group!r}", lambda: self._text(group, attribute))

    def _guarded(self, what: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except FastGRUError:
            raise
        except MemoryError:
            raise InvalidModelError(f"{self.name}: {what} of this HDF5 file does not fit the memory") from None
        except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise InvalidModelError(f"{self.name}: {what} of this HDF5 file cannot be read ({reason})") from None

    def _walk(self) -> dict[str, Any]:
        """path -> dataset; breadth first, with bounds on depth and number, so that links in a cycle end."""
        h5py = self._h5py
        found: dict[str, Any] = {}
        self._groups: dict[str, Any] = {"": self._file["/"]}
        pending = [("", self._groups[""], 0)]
        count = 0
        while pending:
            prefix, group, depth = pending.pop()
            if depth > MAX_DEPTH:
                raise InvalidModelError(f"{self.name}: groups nested more than {MAX_DEPTH} deep: a link in a cycle?")
            for key in group:
                count += 1
                if count > MAX_OBJECTS:
                    raise InvalidModelError(f"{self.name}: more than {MAX_OBJECTS} objects in this HDF5 file")
                path = f"{prefix}{key}"
                link = group.get(key, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    raise UnsupportedModelError(
                        f"{self.name}: {path!r} is a {type(link).__name__}, a link by name, perhaps out of the file;"
                        " such links are not followed: copy the file with h5repack or h5copy to make it one piece"
                    )
                item = group[key]
                if isinstance(item, h5py.Dataset):
                    found[path] = item
                elif isinstance(item, h5py.Group):
                    self._groups[path] = item
                    pending.append((path + "/", item, depth + 1))
        return found

    def _load(self, path: str, dataset: Any) -> Array:
        dtype = dataset.dtype
        stored = self._check_storage(path, dataset)
        # NumPy has no bfloat16, so h5py writes those arrays as two opaque bytes; nothing else is written so.
        if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None and dtype.subdtype is None:
            import ml_dtypes

            return np.asarray(dataset[()]).view(ml_dtypes.bfloat16)
        if dtype.kind not in "fiub" or dtype.itemsize > 8:
            raise UnsupportedModelError(f"{self.name}: dataset {path!r} has dtype {dtype}, expected numbers")
        array = np.asarray(dataset[()]) if stored else np.zeros(dataset.shape, dtype)
        return array.astype(dtype.newbyteorder("="), copy=False)

    def _check_storage(self, path: str, dataset: Any) -> int:
        """Bytes that the dataset takes in the file, once they are known to fit it."""
        if dataset.is_virtual or dataset.external:
            raise UnsupportedModelError(
                f"{self.name}: dataset {path!r} keeps its values in other files, which are not opened:"
                " copy the file with h5repack"
            )
        nbytes = int(dataset.dtype.itemsize) * int(np.prod([int(s) for s in dataset.shape], dtype=object))
        plist, stored = dataset.id.get_create_plist(), int(dataset.id.get_storage_size())
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        if unknown := [f for f in filters if f not in _FILTERS]:
            raise UnsupportedModelError(
                f"{self.name}: dataset {path!r} is compressed by filter {unknown[0]}, which is not part of HDF5:"
                " write it with gzip or without compression (h5repack -f GZIP=4)"
            )
        if nbytes and not stored:
            raise InvalidModelError(f"{self.name}: dataset {path!r} declares {nbytes} bytes and holds none")
        if dataset.chunks and int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize > MAX_CHUNK:
            raise InvalidModelError(f"{self.name}: dataset {path!r} is stored in chunks of more than {MAX_CHUNK} bytes")
        if filters:
            self._inflatable -= nbytes
        else:
            self._plain_left -= nbytes
        if self._inflatable < 0 or self._plain_left < 0:
            raise InvalidModelError(
                f"{self.name}: dataset {path!r} declares {nbytes} bytes, more than the {self._size} of the file can hold"
            )
        return stored

    def _text(self, group: str, attribute: str) -> str | None:
        attrs = self._groups[group.strip("/")].attrs
        if attribute not in attrs:
            return None
        ident = attrs.get_id(attribute)
        # An array of variable-length strings can name one long string many times.
        if int(np.prod(ident.shape, dtype=object)) != 1 or ident.get_storage_size() > max(self._size, 1 << 16):
            raise InvalidModelError(f"{self.name}: attribute {attribute!r} has shape {ident.shape}, expected one text")
        value = np.asarray(attrs[attribute], dtype=object).reshape(-1)[0]
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        if not isinstance(value, str):
            raise InvalidModelError(f"{self.name}: attribute {attribute!r} is {type(value).__name__}, expected a text")
        value.encode()  # h5py gives bytes that are no UTF-8 as surrogates: a UnicodeEncodeError, which is a ValueError
        return value


class _View(io.RawIOBase):
    """A memoryview as the file object that h5py reads, without a copy."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, len(self._data))[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        piece = self._data[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
