"""Typed access to one layer's configuration, as Keras 1, 2 and 3 write it."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Final, Self

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.records import dataclass

__all__ = ["LayerConfig", "as_mapping"]

_MISSING: Final = object()


def as_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Return `value`; raise `InvalidModelError` unless it is a JSON object."""
    if not isinstance(value, Mapping):
        raise InvalidModelError(f"{what} is {value!r:.60}, expected an object")
    return value


@dataclass(frozen=True)
class LayerConfig:
    """A layer's class name, its name and its attributes.

    module: the module that Keras 3 writes beside the class, else "". custom: whether the class is the user's own.
    registered: the name under which the user registered the class, "package>class", else "".

    The getters take the attribute's names from newest to oldest (Keras 1 called `units` `output_dim`). They raise
    `InvalidModelError` for a value of another type, or for a missing attribute without a default.
    """

    class_name: str
    name: str
    config: Mapping[str, Any] = field(repr=False)
    module: str = ""
    custom: bool = False
    registered: str = ""

    @classmethod
    def from_json(cls, data: Any, what: str) -> Self:
        """A layer of {"class_name", "config"}, with the name beside or inside the configuration."""
        data = as_mapping(data, what)
        class_name = data.get("class_name")
        if not isinstance(class_name, str):
            raise InvalidModelError(f"{what}: class_name is {class_name!r:.60}, expected a text")
        config = data.get("config")
        if isinstance(config, list):  # the layers of a Sequential, before Keras 2.2.3
            config = {"layers": config}
        config = as_mapping(config, f"{what}: config")
        name = data.get("name", config.get("name", class_name.lower()))
        if not isinstance(name, str):
            raise InvalidModelError(f"{what}: the name of a {class_name} is {name!r:.60}, expected a text")
        module, registered = data.get("module"), data.get("registered_name")
        module = module if isinstance(module, str) else ""
        # Keras registers users' classes as "package>class".
        named = next((name for name in (registered, class_name) if isinstance(name, str) and ">" in name), "")
        custom = named != "" or (
            module != "" and not module.startswith(("keras.", "tf_keras", "tensorflow")) and module != "keras"
        )
        return cls(class_name, name, config, module, custom, named)

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.class_name})"

    def get(self, *names: str, default: Any = _MISSING) -> Any:
        """An attribute of any type."""
        for name in names:
            if name in self.config:
                return self.config[name]
        if default is _MISSING:
            raise self.damaged(f"{names[0]} is missing")
        return default

    def flag(self, *names: str, default: bool) -> bool:
        """A boolean attribute."""
        value = self.get(*names, default=default)
        if not isinstance(value, bool):
            raise self.damaged(f"{names[0]} is {value!r:.60}, expected true or false")
        return value

    def integer(self, *names: str, default: Any = _MISSING) -> int:
        """An integer attribute."""
        value = self.get(*names, default=default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 31:
            raise self.damaged(f"{names[0]} is {value!r:.60}, expected an integer")
        return value

    def number(self, *names: str, default: Any = _MISSING) -> float:
        """A numeric attribute, as a float."""
        value = self.get(*names, default=default)
        # Keras 3 wraps NumPy scalars; Keras 2 wrote those of some layers as {"type": "ndarray", "value": number}.
        if isinstance(value, Mapping):
            inner = value.get("config", value)
            value = inner.get("value") if isinstance(inner, Mapping) else value
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e300:
            raise self.damaged(f"{names[0]} is {value!r:.60}, expected a number")
        return float(value)

    def integers(self, *names: str, default: Any = _MISSING) -> tuple[int, ...]:
        """An attribute that is a list of integers; a single integer counts as a list of one."""
        value = self.get(*names, default=default)
        items = [value] if isinstance(value, int) else value
        if isinstance(items, Mapping):  # Keras 3 marks tuples: {"class_name": "__tuple__", "items": [...]}
            items = items.get("items")
        if (
            not isinstance(items, Sequence)
            or isinstance(items, str)
            or any(not isinstance(i, int) or isinstance(i, bool) or abs(i) >= 1 << 31 for i in items)
        ):
            raise self.damaged(f"{names[0]} is {value!r:.60}, expected integers")
        return tuple(items)

    def text(self, *names: str, default: Any = _MISSING) -> str:
        """A text attribute."""
        value = self.get(*names, default=default)
        if not isinstance(value, str):
            raise self.damaged(f"{names[0]} is {value!r:.60}, expected a text")
        return value

    def inner(self, key: str) -> Self:
        """The layer that this one wraps, which the attribute `key` describes."""
        return self.from_json(self.get(key), f"{self}: {key}")

    def replaced(self, **attributes: Any) -> Self:
        """The same layer with other attributes."""
        return replace(self, config={**self.config, **attributes})

    def unsupported(self, attribute: str, way: str) -> UnsupportedModelError:
        """The error to raise for a missing feature; `way` tells the user what to do instead."""
        return UnsupportedModelError(f"{self}: {attribute}: {way}")

    def damaged(self, fault: str) -> InvalidModelError:
        """The error to raise for a damaged file."""
        return InvalidModelError(f"{self}: {fault}")
