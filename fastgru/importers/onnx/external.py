"""Tensor data in files beside the model, read only from the model's own folder and within the size of each file."""

import os
from contextlib import ExitStack
from typing import Final

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.onnx.proto import TensorProto
from fastgru.modules import late
from fastgru.sources import Content, opened

__all__ = ["ExternalData"]

_CHUNK: Final = 1 << 20  # bytes that are read at once for a checksum
_KEYS: Final = ("checksum", "length", "location", "offset")


class ExternalData:
    """Reads the ranges that `TensorProto.external_data` names. path: of the model, None if it was given as bytes.

    One file is open at a time, because a model may have one file for every tensor. `close` closes it.
    """

    def __init__(self, path: str | None) -> None:
        self._folder = None if path is None else os.path.dirname(os.path.abspath(path))
        # In a cache made of symbolic links, the data files are next to the target of the model's link.
        self._roots = (
            () if path is None else (os.path.realpath(str(self._folder)), os.path.dirname(os.path.realpath(path)))
        )
        self._open = ExitStack()
        self._location: str | None = None
        self._content: Content | None = None
        self._stamps: dict[str, tuple[int, int]] = {}
        self._digests: dict[str, str] = {}

    def close(self) -> None:
        """Close the file that is open; `read` opens it again."""
        self._content = None
        self._open.close()

    def read(self, proto: TensorProto, nbytes: int, what: str) -> memoryview:
        """Return the `nbytes` bytes of the tensor.

        Raises `InvalidModelError` for a location outside the folder, a missing file, a range outside the file, a
        length other than `nbytes`, or a wrong checksum; `UnsupportedModelError` for an unknown key.
        """
        entries = {entry.key: entry.value for entry in proto.external_data}
        if unknown := sorted(set(entries) - set(_KEYS)):
            raise UnsupportedModelError(
                f"{what}: its external data have {', '.join(unknown)}, which is not implemented"
            )
        location = entries.get("location", "")
        content = self._find(location, what)
        offset = _whole(entries.get("offset", "0"), "offset", what)
        length = _whole(entries.get("length", str(nbytes)), "length", what)
        if length != nbytes:
            raise InvalidModelError(
                f"{what}: its external data have {length} bytes, expected {nbytes} for its dims and type"
            )
        if offset + length > len(content):
            raise InvalidModelError(
                f"{what}: it needs bytes {offset} to {offset + length} of {location!r}, which has {len(content)}"
            )
        if "checksum" in entries and entries["checksum"].lower() != self._digest(location, content):
            raise InvalidModelError(f"{what}: the SHA-1 checksum of {location!r} is not the one in the model")
        return content.read(offset, offset + length)

    def _find(self, location: str, what: str) -> Content:
        if self._content is not None and location == self._location:
            return self._content
        if self._folder is None:
            raise InvalidModelError(
                f"{what}: its data is in the file {location!r} beside the model, but the model came as bytes;"
                " give the path, or save the model with the data inside"
            )
        parts = location.replace("\\", "/").split("/")
        if not location or "\0" in location or os.path.isabs(location) or ":" in parts[0] or ".." in parts:
            raise InvalidModelError(
                f"{what}: its external data are at {location!r}, expected a path inside the folder of the model"
            )
        where = os.path.join(self._folder, location)
        self.close()
        try:
            if any(os.path.commonpath((root, os.path.realpath(where))) == root for root in self._roots):
                self._content = self._open.enter_context(opened(os.path.realpath(where, strict=True)))
        except (OSError, ValueError) as error:
            raise InvalidModelError(f"{what}: its external data at {location!r} cannot be read ({error})") from None
        if self._content is None:
            raise InvalidModelError(
                f"{what}: its external data at {location!r} are outside the folder of the model; put the file there"
            )
        if self._stamps.setdefault(location, self._content.stamp) != self._content.stamp:
            raise InvalidModelError(f"{what}: its external data at {location!r} changed while the model was read")
        self._location = location
        return self._content

    def _digest(self, location: str, content: Content) -> str:
        if location not in self._digests:
            digest = late("hashlib").sha1(usedforsecurity=False)
            for begin in range(0, len(content), _CHUNK):
                digest.update(content.read(begin, begin + _CHUNK))
            self._digests[location] = digest.hexdigest()
        return self._digests[location]


def _whole(text: str, name: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidModelError(f"{what}: its external data have the {name} {text[:40]!r}, expected a whole number")
    return int(text)
