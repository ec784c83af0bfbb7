"""Which types of layers there are, and what each may be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.architecture.described import DescribedLayer

__all__ = ["LayerType", "layer_type", "types"]

Handler = Callable[[DescribedLayer], Value | tuple[tuple[str, Value], ...]]

_TYPES: Final[dict[str, LayerType]] = {}


@dataclass(frozen=True)
class LayerType:
    """One type of layer.

    options: what changes the result. sizes: what the weights tell, and is only checked where it is given. training:
    what matters to training alone, and is accepted. inputs: the fewest and the most values that it takes, None for any
    number. has_weights: it takes `prefix` and `keys`. has_states: it takes `states`. floats: its inputs must be floats.
    """

    name: str
    handler: Handler
    options: tuple[str, ...]
    sizes: tuple[str, ...]
    training: tuple[str, ...]
    inputs: tuple[int, int | None]
    has_weights: bool
    has_states: bool
    floats: bool

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
    floats: bool = True,
) -> Callable[[Handler], Handler]:
    """Enter the function that follows for the types `names`; the texts list names, with blanks between."""

    def enter(handler: Handler) -> Handler:
        for name in names:
            assert name not in _TYPES, name
            own, told, idle = (tuple(text.split()) for text in (options, sizes, training))
            _TYPES[name] = LayerType(name, handler, own, told, idle, inputs, weights, states, floats)
        return handler

    return enter


def types() -> Mapping[str, LayerType]:
    """Every type of layer by its name, sorted."""
    return dict(sorted(_TYPES.items()))
