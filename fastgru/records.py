"""Dataclasses that are quick to define: only `__init__` is compiled from source text, and other methods are closures.

Nearly every other module imports this one, and start-up consists of imports. With the dataclasses of the standard
library, a process takes 16 ms longer to the first output of an ONNX file (140 instead of 124 ms, of which Python and
NumPy take 75). `fastgru bench --suite steady --against PYTHON` measures the difference, if that Python has a fastgru
whose `records` module passes on the standard ones. `fields`, `replace` and `asdict` of `dataclasses` know these
classes, too. They lack what this package does not use: slots, order, `InitVar` and keyword-only parameters. The repr of
an object that contains itself never ends.
"""

import dataclasses
import inspect
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, get_origin

__all__ = ["dataclass"]

_MISSING: Final = dataclasses.MISSING


class _Factory:
    """The default value of a parameter whose field has a factory."""

    def __repr__(self) -> str:
        return "<factory>"


@dataclasses.dataclass(init=False, repr=False, eq=False)  # all False, so that nothing is compiled
class _Example:
    """A class with a docstring of its own: `dataclasses` would otherwise write its signature there, which is slow."""

    one: int


_PLAIN: Final = dataclasses.fields(_Example)[0]._field_type  # type: ignore[attr-defined]  # as opposed to a ClassVar


def _made(cls: type, *, frozen: bool = False, eq: bool = True, init: bool = True) -> type:
    table: dict[str, Any] = {}
    for base in cls.__mro__[:0:-1]:
        table |= base.__dict__.get("__dataclass_fields__", {})
    for name, kind in inspect.get_annotations(cls).items():
        if "ClassVar" not in kind if isinstance(kind, str) else ClassVar not in (kind, get_origin(kind)):
            table[name] = _field(cls, name, kind)
    compared = tuple(name for name, field in table.items() if field.compare)
    hashed = tuple(name for name, field in table.items() if (field.compare if field.hash is None else field.hash))
    methods: dict[str, Any] = {"__repr__": _repr_of(tuple(name for name, field in table.items() if field.repr))}
    if init:
        methods["__init__"] = _init_of(cls, table, frozen)
    if eq:
        methods |= {"__eq__": _eq_of(_values(compared)), "__hash__": None}
    if eq and frozen:
        methods["__hash__"] = _hash_of(_values(hashed))
    if frozen:
        methods |= {"__setattr__": _refuse("assign to"), "__delattr__": _refuse("delete")}
    for name, method in methods.items():
        if name not in cls.__dict__ or (name == "__hash__" and cls.__dict__[name] is None):
            if method is not None:
                method.__qualname__, method.__module__ = f"{cls.__qualname__}.{name}", cls.__module__
            setattr(cls, name, method)
    for name, value in (("__dataclass_fields__", table), ("__match_args__", tuple(table))):
        setattr(cls, name, value)
    return cls


def _field(cls: type, name: str, kind: Any) -> Any:
    given = cls.__dict__.get(name, _MISSING)
    field: Any = given if isinstance(given, dataclasses.Field) else dataclasses.field(default=given)
    field.name, field.type, field._field_type = name, kind, _PLAIN
    if field.default is not _MISSING:
        setattr(cls, name, field.default)
    elif given is not _MISSING:
        delattr(cls, name)
    return field


def _init_of(cls: type, table: dict[str, Any], frozen: bool) -> Any:
    known: dict[str, Any] = {"_set": object.__setattr__, "_factory": _Factory()}
    parameters, lines = [], []
    for name, field in table.items():
        value = name
        if field.default is not _MISSING:
            known[f"_{name}_default"] = field.default
            parameters.append(f"{name}=_{name}_default")
        elif field.default_factory is not _MISSING:
            known[f"_{name}_factory"] = field.default_factory
            parameters.append(f"{name}=_factory")
            value = f"_{name}_factory() if {name} is _factory else {name}"
        else:
            parameters.append(name)
        lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    exec(f"def __init__(self, {', '.join(parameters)}):\n " + "\n ".join(lines or ["pass"]), known)
    function = known["__init__"]
    function.__annotations__ = {name: field.type for name, field in table.items()} | {"return": None}
    return function


def _repr_of(names: tuple[str, ...]) -> Any:
    def __repr__(self: Any) -> str:  # noqa: N807
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _values(names: tuple[str, ...]) -> Callable[[Any], Any]:
    """Return a function that returns the tuple of these attributes of an object."""
    return attrgetter(*names) if len(names) > 1 else lambda self: tuple(getattr(self, name) for name in names)


def _eq_of(values: Callable[[Any], Any]) -> Any:
    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self is other or values(self) == values(other)

    return __eq__


def _hash_of(values: Callable[[Any], Any]) -> Any:
    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    return __hash__


def _refuse(what: str) -> Any:
    def refuse(self: Any, name: str, *value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot {what} field {name!r}")

    return refuse


if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, **options: bool) -> Any:
        """`dataclasses.dataclass` with the options frozen, eq and init."""
        return _made(cls, **options) if cls is not None else lambda cls: _made(cls, **options)
