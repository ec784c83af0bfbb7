"""Which types of layers there are, and what each may be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final

from fastgru.graphbuilder import Value

if TYPE_CHECKING:
    from fastgru.importers.architecture.layer import Layer

__all__ = ["LayerType", "layer_type", "types"]

Handler = Callable[["Layer"], Value | tuple[tuple[str, Value], ...]]

_FAMILIES: Final = (
    "activation",
    "arithmetic",
    "attention",
    "conv",
    "linear",
    "norm",
    "pad",
    "pool",
    "recurrent",
    "shape",
)

_TYPES: dict[str, LayerType] = {}


@dataclass(frozen=True)
class LayerType:
    """One type of layer.

    options: what changes the result. sizes: what the weights tell, and is only checked where it is given. training:
    what matters to training alone, and is accepted. inputs: the fewest and the most values that it takes, None for any
    number. has_weights: it takes `prefix` and `keys`. has_states: it takes `states`.
    """

    name: str
    handler: Handler
    options: tuple[str, ...]
    sizes: tuple[str, ...]
    training: tuple[str, ...]
    inputs: tuple[int, int | None]
    has_weights: bool
    has_states: bool

    @property
    def known(self) -> tuple[str, ...]:
        """Every key that a layer of this type may have in a description."""
        common = ["name", "type", "inputs"]
        common += ["prefix", "keys"] if self.has_weights else []
        common += ["states"] if self.has_states else []
        return (*common, *self.options, *self.sizes, *self.training)


def layer_type(
    *names: str,
    options: str = "",
    sizes: str = "",
    training: str = "",
    inputs: tuple[int, int | None] = (1, 1),
    weights: bool = False,
    states: bool = False,
) -> Callable[[Handler], Handler]:
    """Enter the function that follows for the types `names`; the texts list names, with blanks between."""

    def enter(handler: Handler) -> Handler:
        for name in names:
            assert name not in _TYPES, name
            own, told, idle = (tuple(text.split()) for text in (options, sizes, training))
            _TYPES[name] = LayerType(name, handler, own, told, idle, inputs, weights, states)
        return handler

    return enter


@cache
def types() -> Mapping[str, LayerType]:
    """Every type of layer by its name, sorted."""
    for family in _FAMILIES:
        import_module(f"fastgru.importers.architecture.{family}")
    return dict(sorted(_TYPES.items()))
