"""Typed access to the attributes of a node, with a record of the attributes that were never read."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError
from fastgru.importers.onnx.external import ExternalData
from fastgru.importers.onnx.proto import AttributeProto, GraphProto
from fastgru.importers.onnx.tensors import read_tensor

__all__ = ["Attributes", "collect_attributes", "named"]

T = TypeVar("T")

_MOST_AXES: Final = 64  # the most that a NumPy array can have
_NO_FILES: Final = ExternalData(None)
_TYPE_NAMES = {number: name for name, number in AttributeProto.AttributeType.items()}


def collect_attributes(
    protos: Iterable[AttributeProto], what: str, outer: Mapping[str, AttributeProto] | None = None
) -> dict[str, AttributeProto]:
    """Return attributes by name; a reference to an attribute of the enclosing function is looked up in `outer`."""
    found: dict[str, AttributeProto] = {}
    for proto in protos:
        if proto.name in found:
            raise InvalidModelError(f"{what}: attribute {proto.name!r} occurs twice")
        if not proto.ref_attr_name:
            found[proto.name] = proto
        elif outer is None:
            raise InvalidModelError(
                f"{what}: attribute {proto.name!r} refers to {proto.ref_attr_name!r} outside of a function"
            )
        elif proto.ref_attr_name in outer:
            found[proto.name] = outer[proto.ref_attr_name]
    return found


def named(attribute: AttributeProto, name: str) -> AttributeProto:
    """Return a copy of the attribute with another name."""
    copy = AttributeProto()
    copy.CopyFrom(attribute)
    copy.name = name
    return copy


class Attributes:
    """Typed access to a node's attributes. `unread` returns the names of those that were never read."""

    def __init__(self, protos: Mapping[str, AttributeProto], what: str) -> None:
        self._protos = protos
        self._what = what
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._protos

    def unread(self) -> list[str]:
        """The names of the attributes that nobody has read."""
        return sorted(self._protos.keys() - self._read)

    def _find(self, name: str, type_name: str, read: Callable[[AttributeProto], T]) -> T | None:
        """Return `read(attribute)`, or None if the attribute is absent."""
        self._read.add(name)
        proto = self._protos.get(name)
        if proto is not None and _TYPE_NAMES.get(proto.type) != type_name:
            came = _TYPE_NAMES.get(proto.type, proto.type)
            raise InvalidModelError(f"{self._what}: attribute {name!r} is of type {came}, expected {type_name}")
        return None if proto is None else read(proto)

    def _one(self, name: str, default: T | None, found: T | None) -> T:
        value = default if found is None else found
        if value is None:
            raise InvalidModelError(f"{self._what}: attribute {name!r} is missing")
        return value

    def _possible(self, name: str, numbers: list[int]) -> list[int]:
        """Refuse axes that no array can have: code that counts up to an axis could take unbounded time and memory."""
        wrong = next((n for n in numbers if abs(n) > _MOST_AXES), None) if name in ("axis", "axes") else None
        if wrong is not None:
            raise InvalidModelError(f"{self._what}: attribute {name!r} has {wrong}, more axes than a tensor can have")
        return numbers

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer, or `default`."""
        return self._one(name, default, self._find(name, "INT", lambda p: self._possible(name, [int(p.i)])[0]))

    def flag(self, name: str, default: bool) -> bool:
        """An integer that is 0 or 1, as a bool, or `default`."""
        value = self.integer(name, int(default))
        if value not in (0, 1):
            raise InvalidModelError(f"{self._what}: attribute {name!r} is {value}, expected 0 or 1")
        return bool(value)

    def number(self, name: str, default: float | None = None) -> float:
        """A float, or `default`."""
        return self._one(name, default, self._find(name, "FLOAT", lambda p: float(p.f)))

    def string(self, name: str, default: str | None = None) -> str:
        """A text, or `default`."""
        return self._one(name, default, self._find(name, "STRING", lambda p: self._text(name, p.s)))

    def choice(self, name: str, known: Collection[str], default: str | None = None) -> str:
        """A text that is one of `known`, or `default`."""
        value = self.string(name, default)
        if value not in known:
            raise InvalidModelError(
                f"{self._what}: attribute {name!r} is {value!r}, expected one of {', '.join(known)}"
            )
        return value

    def integers(self, name: str) -> list[int] | None:
        """A list of integers; None if the attribute is absent."""
        return self._find(name, "INTS", lambda p: self._possible(name, [int(i) for i in p.ints]))

    def numbers(self, name: str) -> list[float] | None:
        """A list of floats; None if the attribute is absent."""
        return self._find(name, "FLOATS", lambda p: np.asarray(p.floats, np.float64).tolist())

    def strings(self, name: str) -> list[str] | None:
        """A list of texts; None if the attribute is absent."""
        return self._find(name, "STRINGS", lambda p: [self._text(name, s) for s in p.strings])

    def graph(self, name: str) -> GraphProto:
        """A subgraph, such as the body of a Loop."""
        return self._one(name, None, self._find(name, "GRAPH", lambda p: p.g))

    def like(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Several attributes by name, each with the type of its default."""
        getters: Mapping[type, Callable[[str, Any], Any]] = {bool: self.flag, float: self.number, int: self.integer}
        return {name: getters[type(default)](name, default) for name, default in defaults.items()}

    def every(self) -> Mapping[str, AttributeProto]:
        """All attributes by name; all of them count as read."""
        self._read.update(self._protos)
        return self._protos

    def array(self, name: str) -> Array | None:
        """The array of a tensor; its data must be in the model file itself."""
        return self._find(name, "TENSOR", lambda p: read_tensor(p.t, self._what, _NO_FILES))

    def _text(self, name: str, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidModelError(f"{self._what}: attribute {name!r} is not UTF-8") from None
