"""PyTorch checkpoints, read without torch: the zip format since 1.6 and the legacy format before it.

zip: `<stem>/data.pkl` has persistent ids for storages. The bytes of a storage are the member `<stem>/data/<key>`, in
the byte order that `<stem>/byteorder` names.
legacy: five pickles (magic number, protocol version, system information, object, list of storage keys), then for each
key an int64 count and the bytes, always little-endian (torch/csrc/serialization.cpp).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import Any, Final

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError
from fastgru.importers.archive import Archive
from fastgru.importers.weights.nested import StateDict, choose_state_dict
from fastgru.importers.weights.pickles import PICKLE_LIMIT, PickleReader
from fastgru.importers.weights.torch_globals import persistent_object, torch_table
from fastgru.importers.weights.torch_tensors import StoredTensor, TorchStorage
from fastgru.sources import Content

__all__ = ["TorchFile", "read_torch_legacy", "read_torch_zip"]

# All tensors that are checked or converted number by number may add up to this many bytes plus 20 times the file.
CONVERTED_ALLOWANCE: Final = 256 << 20
CONVERTED_RATIO: Final = 20

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001


class TorchFile:
    """A checkpoint whose tensors have not been read.

    value: the pickled object: dicts, lists, scalars, `StoredTensor` and `Inert`. unknown: the names in its pickle that
        are not in the table, once each. storage: returns the bytes under a key.
    """

    def __init__(
        self,
        reader: PickleReader,
        value: Any,
        storage: Callable[[str], memoryview],
        *,
        big_endian: bool,
        file: Content,
    ) -> None:
        self.value = value
        self.unknown = tuple(reader.unknown)
        self.name = file.name
        self._storage = storage
        self._big_endian = big_endian
        self._left = CONVERTED_ALLOWANCE + CONVERTED_RATIO * len(file)

    def state_dict(self, key: str | None) -> StateDict:
        """Return the arrays of one dict, without reading storages of other dicts.

        Raises the errors of `array` and `choose_state_dict`.
        """
        chosen = choose_state_dict(
            self.value,
            key=key,
            name=self.name,
            is_tensor=lambda value: isinstance(value, StoredTensor),
            is_weight=lambda value: isinstance(value, StoredTensor) and value.is_parameter_like,
            unknown=self.unknown,
        )
        arrays = {label: self.array(tensor, label) for label, tensor in chosen.tensors.items()}
        return replace(chosen, tensors=arrays, unknown=self.unknown)

    def array(self, tensor: StoredTensor, label: str) -> Array:
        """Return the array of `tensor`. Raises `InvalidModelError` or `UnsupportedModelError` naming `label`."""
        what = f"{self.name}: tensor {label!r}"

        def charge(nbytes: int) -> None:
            self._left -= nbytes
            if self._left < 0:
                raise InvalidModelError(
                    f"{what}: the tensors overlap so much that together they are {CONVERTED_RATIO} times as large as"
                    " the file"
                )

        return tensor.array(self._storage(tensor.storage.key), charge, big_endian=self._big_endian, what=what)


def read_torch_zip(file: Content) -> TorchFile:
    """Open a checkpoint; its storages are read when an array is needed, while `file` is open.

    Raises `InvalidModelError` for a damaged file, `UnsupportedModelError` for weights that were quantised and packed.
    """
    archive, name = Archive(file), file.name
    pickled = [member for member in archive if member == "data.pkl" or member.endswith("/data.pkl")]
    if len(pickled) != 1:
        raise InvalidModelError(f"{name}: got {len(pickled)} members named data.pkl, expected one")
    stem = pickled[0].removesuffix("data.pkl")
    order = bytes(archive[stem + "byteorder"]).strip() if stem + "byteorder" in archive else b"little"
    if order not in (b"little", b"big"):
        raise InvalidModelError(f"{name}: the byte order is {order[:20]!r}, expected little or big")
    if archive.members[pickled[0]].size > PICKLE_LIMIT:
        raise InvalidModelError(f"{name}: the pickle has more than {PICKLE_LIMIT} bytes")
    reader = _reader(BytesIO(archive[pickled[0]]), name)
    value = reader.load()

    @cache
    def storage(key: str) -> memoryview:
        member = f"{stem}data/{key}"
        if member not in archive:
            raise InvalidModelError(f"{name}: the storage {member[:80]!r} is missing")
        return archive[member]

    return TorchFile(reader, value, storage, big_endian=order == b"big", file=file)


def read_torch_legacy(file: Content) -> TorchFile:
    """Open a checkpoint of the legacy format; otherwise as `read_torch_zip`."""
    name, stream = file.name, BytesIO(file[:PICKLE_LIMIT])
    item_sizes: dict[str, int] = {}

    def persistent(ident: Any) -> Any:
        found = persistent_object(ident)
        if isinstance(found, TorchStorage):
            item_sizes.setdefault(found.key, found.item_size)
        return found

    reader = _reader(stream, name, persistent)
    magic, protocol = reader.load(), reader.load()
    if type(magic) is not int or type(protocol) is not int or (magic, protocol) != (MAGIC, PROTOCOL):
        raise InvalidModelError(f"{name}: the magic number or the protocol version is not torch's ({PROTOCOL})")
    reader.load()  # system information, which torch itself ignores
    value, keys = reader.load(), reader.load()
    places = dict(_legacy_storages(file, stream.tell(), keys, item_sizes))

    @cache
    def storage(key: str) -> memoryview:
        if key not in places:
            raise InvalidModelError(f"{name}: the storage {key[:80]!r} is missing")
        return file.read(*places[key])

    return TorchFile(reader, value, storage, big_endian=False, file=file)


def _reader(stream: BytesIO, name: str, persistent: Callable[[Any], Any] = persistent_object) -> PickleReader:
    return PickleReader(stream, name=name, table=torch_table, persistent=persistent)


def _legacy_storages(
    data: Content, position: int, keys: Any, item_sizes: dict[str, int]
) -> Iterator[tuple[str, tuple[int, int]]]:
    name = data.name
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in item_sizes for key in keys):
        raise InvalidModelError(f"{name}: the list of storages does not name the storages that tensors use")
    for key in keys:
        count = int.from_bytes(data[position : position + 8], "little", signed=True)
        start, position = position + 8, position + 8 + count * item_sizes[key]
        if count < 0 or position > len(data):
            raise InvalidModelError(f"{name}: storage {key[:80]!r} declares {count} elements, more than the file holds")
        yield key, (start, position)
    if position != len(data):
        raise InvalidModelError(f"{name}: got {len(data) - position} bytes after the last storage, expected none")
