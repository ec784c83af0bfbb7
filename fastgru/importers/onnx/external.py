"""Tensor data in files beside the model: only in the model's own folder, and only as much as is there."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.onnx.proto import TensorProto
from fastgru.sources import open_source

__all__ = ["ExternalData"]

_KEYS: Final = ("checksum", "length", "location", "offset")


class ExternalData:
    """Reads the ranges that `TensorProto.external_data` names; `path` is the model's, None where it came as bytes."""

    def __init__(self, path: str | None) -> None:
        self._folder = None if path is None else os.path.dirname(os.path.abspath(path))
        # A model in a cache of links has its files side by side where the links lead.
        self._roots = () if path is None else (os.path.realpath(str(self._folder)), _real_folder(path))
        self._files: dict[str, memoryview] = {}
        self._digests: dict[str, str] = {}

    def read(self, proto: TensorProto, nbytes: int, what: str) -> memoryview:
        """The `nbytes` bytes of the tensor.

        Raises `InvalidModelError` for a location outside of the folder, a missing file, a range outside of the file,
        a length other than `nbytes`, or a checksum that does not hold.
        """
        entries = {entry.key: entry.value for entry in proto.external_data}
        if unknown := sorted(set(entries) - set(_KEYS)):
            raise UnsupportedModelError(f"{what}: external data with {', '.join(unknown)} is not implemented")
        location = entries.get("location", "")
        data = self._open(location, what)
        offset = _whole(entries.get("offset", "0"), "offset", what)
        length = _whole(entries.get("length", str(nbytes)), "length", what)
        if length != nbytes:
            raise InvalidModelError(f"{what}: external data of {length} bytes, expected {nbytes} for its dims and type")
        if offset + length > data.nbytes:
            raise InvalidModelError(
                f"{what}: bytes {offset} to {offset + length} of {location!r}, which has {data.nbytes}"
            )
        if "checksum" in entries and entries["checksum"].lower() != self._digest(location):
            raise InvalidModelError(f"{what}: the SHA-1 checksum of {location!r} is not the one the model gives")
        return data[offset : offset + length]

    def _open(self, location: str, what: str) -> memoryview:
        if location in self._files:
            return self._files[location]
        if self._folder is None:
            raise InvalidModelError(
                f"{what}: its data is in the file {location!r} beside the model, but the model came as bytes;"
                " give the path, or save the model with the data inside"
            )
        parts = location.replace("\\", "/").split("/")
        if not location or "\0" in location or os.path.isabs(location) or ":" in parts[0] or ".." in parts:
            raise InvalidModelError(f"{what}: external data at {location!r}, expected a path inside the model's folder")
        where = os.path.join(self._folder, location)
        try:
            inside = any(os.path.commonpath((root, os.path.realpath(where))) == root for root in self._roots)
            data = open_source(os.path.realpath(where, strict=True)) if inside else None
        except (OSError, ValueError) as error:
            raise InvalidModelError(f"{what}: external data at {location!r} cannot be read ({error})") from None
        if data is None:
            raise InvalidModelError(
                f"{what}: external data at {location!r} leads out of the model's folder; put the file there"
            )
        self._files[location] = data
        return data

    def _digest(self, location: str) -> str:
        if location not in self._digests:
            self._digests[location] = hashlib.sha1(self._files[location], usedforsecurity=False).hexdigest()
        return self._digests[location]


def _real_folder(path: str) -> str:
    return os.path.dirname(os.path.realpath(path))


def _whole(text: str, name: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidModelError(f"{what}: external data with {name} {text[:40]!r}, expected a whole number")
    return int(text)
