"""The attributes of a node, of the types that are asked for, and which of them nobody asks for."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError
from fastgru.importers.onnx.external import ExternalData
from fastgru.importers.onnx.proto import AttributeProto, GraphProto
from fastgru.importers.onnx.tensors import read_tensor

__all__ = ["Attributes", "collect_attributes"]

_MOST_AXES: Final = 64  # of an array of NumPy's
_NO_FILES: Final = ExternalData(None)
_TYPE_NAMES = {number: name for name, number in AttributeProto.AttributeType.items()}


def collect_attributes(
    protos: Iterable[AttributeProto], what: str, outer: Mapping[str, AttributeProto] | None = None
) -> dict[str, AttributeProto]:
    """Attributes by name; one that refers to an attribute of the function around it is looked up in `outer`."""
    found: dict[str, AttributeProto] = {}
    for proto in protos:
        if proto.name in found:
            raise InvalidModelError(f"{what}: attribute {proto.name!r} is there twice")
        if not proto.ref_attr_name:
            found[proto.name] = proto
        elif outer is None:
            raise InvalidModelError(
                f"{what}: attribute {proto.name!r} refers to {proto.ref_attr_name!r} outside of a function"
            )
        elif proto.ref_attr_name in outer:
            found[proto.name] = outer[proto.ref_attr_name]
    return found


class Attributes:
    """Typed access to a node's attributes. `unread` names those that nobody asked for."""

    def __init__(self, protos: Mapping[str, AttributeProto], what: str) -> None:
        self._protos = protos
        self._what = what
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._protos

    def unread(self) -> list[str]:
        return sorted(set(self._protos) - self._read)

    def _get(self, name: str, type_name: str) -> AttributeProto | None:
        self._read.add(name)
        proto = self._protos.get(name)
        if proto is not None and _TYPE_NAMES.get(proto.type) != type_name:
            came = _TYPE_NAMES.get(proto.type, proto.type)
            raise InvalidModelError(f"{self._what}: attribute {name!r} is of type {came}, expected {type_name}")
        return proto

    def _possible(self, name: str, numbers: list[int]) -> list[int]:
        """Axes that an array can have: what counts up to one of a file's would take any time and memory."""
        wrong = next((n for n in numbers if abs(n) > _MOST_AXES), None) if name in ("axis", "axes") else None
        if wrong is not None:
            raise InvalidModelError(f"{self._what}: attribute {name!r} has {wrong}, and no tensor has so many axes")
        return numbers

    def integer(self, name: str, default: int | None = None) -> int:
        proto = self._get(name, "INT")
        return self._required(name, default) if proto is None else self._possible(name, [int(proto.i)])[0]

    def flag(self, name: str, default: bool) -> bool:
        value = self.integer(name, int(default))
        if value not in (0, 1):
            raise InvalidModelError(f"{self._what}: attribute {name!r} is {value}, expected 0 or 1")
        return bool(value)

    def number(self, name: str, default: float | None = None) -> float:
        proto = self._get(name, "FLOAT")
        return self._required(name, default) if proto is None else float(proto.f)

    def string(self, name: str, default: str | None = None) -> str:
        proto = self._get(name, "STRING")
        return self._required(name, default) if proto is None else self._text(name, proto.s)

    def integers(self, name: str) -> list[int] | None:
        proto = self._get(name, "INTS")
        return None if proto is None else self._possible(name, [int(i) for i in proto.ints])

    def numbers(self, name: str) -> list[float] | None:
        proto = self._get(name, "FLOATS")
        return None if proto is None else np.asarray(proto.floats, np.float64).tolist()

    def strings(self, name: str) -> list[str] | None:
        proto = self._get(name, "STRINGS")
        return None if proto is None else [self._text(name, s) for s in proto.strings]

    def graph(self, name: str) -> GraphProto:
        proto = self._get(name, "GRAPH")
        if proto is None:
            raise InvalidModelError(f"{self._what}: attribute {name!r} is missing, expected a graph")
        return proto.g

    def every(self) -> Mapping[str, AttributeProto]:
        """All of them, which counts as reading them."""
        self._read.update(self._protos)
        return self._protos

    def array(self, name: str) -> Array | None:
        """The array of a tensor whose data is in the model itself."""
        proto = self._get(name, "TENSOR")
        return None if proto is None else read_tensor(proto.t, self._what, _NO_FILES)

    def _required(self, name: str, default: Any) -> Any:
        if default is None:
            raise InvalidModelError(f"{self._what}: attribute {name!r} is missing")
        return default

    def _text(self, name: str, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidModelError(f"{self._what}: attribute {name!r} is not UTF-8") from None
