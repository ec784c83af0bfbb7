"""Custom objects: the caller's replacements for layers whose code is not in the file.

A custom object is found by the name of a layer, of its class, or of the function that it calls. It is

    a function         that runs in Python, between the native parts of the model
    a description      of layers, as `fastgru.importers.architecture` reads it, over the arrays of the layer
    a layer or model   with a method `to_graph`, or a graph: its nodes become nodes of the model
    a text             the name of a Keras class with the same configuration and the same arrays

or a `CustomLayer` around one of these, which adds facts about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from fastgru.errors import InvalidModelError
from fastgru.graph import Graph
from fastgru.importers.customfile import read_custom_objects
from fastgru.importers.keras.config import LayerConfig
from fastgru.nearest import offered
from fastgru.records import dataclass

__all__ = ["CustomLayer", "CustomObjects", "code_of", "inside", "is_function", "names_of"]


@dataclass(frozen=True)
class CustomLayer:
    """A replacement for a layer of a Keras model, with facts that only the author of the layer knows.

    layer: a function of NumPy arrays, a description of layers, a layer of this package, a model, or the name of a class
        of Keras. A function takes one array for each input of the layer, and returns an array or a tuple of arrays. A
        parameter named `weights` receives the arrays of the layer, by their names in the file; a parameter named
        `config` receives the configuration of the layer. The `arguments` of a `Lambda` are passed by name.
    shape: the shape of the output of a function, batch included, with None for a free size; a list of shapes for
        several outputs. By default the function is tried on random numbers when the model is loaded.
    per_step: True if each step of the output of a function depends only on the same step of its inputs. The model can
        then stream.
    keeps_mask: whether the output has the mask of the input. Needed only if the input has a mask.
    """

    layer: Any
    shape: Sequence[Any] | None = None
    per_step: bool = False
    keeps_mask: bool | None = None


class CustomObjects:
    """The custom objects of a call of `fastgru.load`, and which of them have been used."""

    def __init__(self, objects: Mapping[str, Any] | str | PathLike[str] | None = None) -> None:
        if isinstance(objects, str | PathLike):
            objects = read_custom_objects(Path(objects))
        if not isinstance(objects, Mapping | None) or not all(isinstance(name, str) for name in objects or ()):
            raise InvalidModelError(
                f"custom_objects is {objects!r:.80}, expected a dict of layers by their names, or the path of a file"
            )
        self._objects = {name: _checked(name, given) for name, given in (objects or {}).items()}
        self._used: set[str] = set()

    def of(self, layer: LayerConfig) -> CustomLayer | None:
        """Return the custom object for a layer, or None."""
        for name in names_of(layer) if self._objects else ():
            if name in self._objects:
                self._used.add(name)
                return self._objects[name]
        return None

    def function(self, name: str) -> CustomLayer | None:
        """Return the custom object for an activation function, or None."""
        found = next((one for one in (name, name.rpartition(">")[2]) if one in self._objects), None)
        if found is None:
            return None
        self._used.add(found)
        return self._objects[found]

    def check_all_used(self, known: Sequence[str], *, is_part: bool = False) -> None:
        """Raise `InvalidModelError` for a custom object that was not used. known: names that exist in the model.

        is_part: only a part of the model is read, so that an object with a known name may stay unused.
        """
        used = self._used.union(known) if is_part else self._used
        if unused := [name for name in self._objects if name not in used]:
            raise _unknown(unused, known)

    def check_all_named(self, config: Any, known: Sequence[str]) -> None:
        """Raise `InvalidModelError` for a custom object whose name is nowhere in the model's configuration.

        This check is for models that could not be read completely, so that custom objects of later layers are unused.
        known: the names that the message offers.
        """
        said = set(_texts(config)) if self._objects else set()
        said |= {text.rpartition(">")[2] for text in said}
        if unknown := [name for name in self._objects if name not in said]:
            raise _unknown(unknown, known)


def _unknown(names: Sequence[str], known: Sequence[str]) -> InvalidModelError:
    return InvalidModelError(
        f"custom_objects: {', '.join(map(repr, names))} is not the name of a layer of the model, or of the class or"
        f" function of a layer; {offered(names, dict.fromkeys(known))}"
    )


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in the values of JSON objects and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def _checked(name: str, given: Any) -> CustomLayer:
    custom = given if isinstance(given, CustomLayer) else CustomLayer(given)
    what, layer = f"custom_objects[{name!r}]", custom.layer
    if not (isinstance(layer, str | Mapping | Graph) or callable(getattr(layer, "to_graph", None)) or callable(layer)):
        raise InvalidModelError(
            f"{what}: got {type(layer).__name__}, expected a function of arrays, a description of layers, a layer, or"
            " the name of a Keras class"
        )
    if isinstance(layer, type):
        raise InvalidModelError(f"{what} is the class {layer.__name__}, expected an instance of it, or a function")
    if (custom.shape is not None or custom.per_step) and not is_function(layer):
        raise InvalidModelError(f"{what}: shape and per_step apply only to functions; leave them out")
    return custom


def is_function(layer: Any) -> bool:
    """Return whether a custom object is a function of arrays."""
    return not isinstance(layer, str | Mapping | Graph) and not callable(getattr(layer, "to_graph", None))


def code_of(layer: LayerConfig) -> tuple[str, str]:
    """Return the name of the function that a Lambda calls ("" if it has none), and what the file has of it."""
    value: Any = layer.config.get("function")
    kind = layer.config.get("function_type")
    inner = value.get("config") if isinstance(value, Mapping) else None
    if isinstance(value, Mapping) and isinstance(inner, str):
        module = value.get("module")
        return inner, f"the name of a function, {inner!r}{f' of {module}' if isinstance(module, str) else ''}"
    if isinstance(value, str) and kind in ("function", None):
        module = layer.config.get("module")
        return value, f"the name of a function, {value!r}{f' of {module}' if isinstance(module, str) else ''}"
    code = inner.get("code") if isinstance(inner, Mapping) else value[0] if isinstance(value, list) and value else value
    size = len(code) * 3 // 4 if isinstance(code, str) else 0
    return "", f"marshalled Python code of {size} bytes" if size else "no code"


def names_of(layer: LayerConfig) -> list[str]:
    """Return the names by which a custom object for a layer is found, the most specific first."""
    function = code_of(layer)[0] if layer.class_name == "Lambda" else ""
    short = layer.class_name.rpartition(">")[2]
    return [name for name in dict.fromkeys((layer.name, function, layer.class_name, short)) if name]


def inside(layer: LayerConfig) -> Iterator[LayerConfig]:
    """Yield the layer, and the layer that it applies to every step, if any."""
    yield layer
    wrapped = layer.config.get("layer")
    if (
        layer.class_name == "TimeDistributed"
        and isinstance(wrapped, Mapping)
        and isinstance(wrapped.get("class_name"), str)
    ):
        yield from inside(layer.inner("layer"))
