"""One call of one layer: tensors with their masks, the graph that is built, and what every handler needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.graphbuilder import BuiltNode, GraphBuilder, Value
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.custom import CustomObjects
from fastgru.importers.keras.rules import Rules
from fastgru.importers.keras.weights import LayerWeights
from fastgru.records import dataclass
from fastgru.reference.facts import ValueFacts

__all__ = ["Call", "KerasGraphBuilder", "Shape", "Tensor"]

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Tensor:
    """A value between layers. mask: a bool tensor over the first axes of `value`."""

    value: Value
    mask: Value | None = None

    @property
    def shape(self) -> Shape:
        """The shape, with None for a free size."""
        return self.value.shape

    @property
    def rank(self) -> int:
        return len(self.value.shape)

    @property
    def dtype(self) -> str:
        assert self.value.dtype is not None
        return self.value.dtype

    def but(self, **changes: Any) -> Tensor:
        return replace(self, **changes)


class KerasGraphBuilder(GraphBuilder):
    """states: name -> (before, after) of each state that is an input and an output of the model. custom: the caller's
    replacements for layers."""

    def __init__(self, custom: CustomObjects | None = None) -> None:
        super().__init__("float32")
        self.custom = CustomObjects() if custom is None else custom
        self.states: dict[str, tuple[Value, Value | None]] = {}

    def outside(
        self,
        op: str,
        inputs: Sequence[Value],
        names: Sequence[str],
        attrs: Mapping[str, Any],
        found: Sequence[ValueFacts],
    ) -> list[Value]:
        """Add a node of an operator without a definition, and return its outputs, whose facts are `found`."""
        values = [Value(name, facts) for name, facts in zip(names, found, strict=True)]
        self.nodes.append(BuiltNode(op, tuple(inputs), tuple(values), attrs, names[0]))
        return values

    def scalar(self, value: float, like: Tensor, hint: str) -> Value:
        """A constant of the dtype of `like`."""
        return self.constant(np.asarray(value, dtype=like.dtype), hint)

    def open_state(self, name: str, shape: Sequence[int | None]) -> Value:
        """A new input, `name`_in, whose next value is the output `name`_out: see `close_state`."""
        before = self.input(f"{name}_in", "float32", shape, ("batch",))
        self.states[name] = before, None
        return before

    def close_state(self, before: Value, after: Value) -> None:
        """Set the next value of a state that `open_state` returned; other values are ignored."""
        for name, (opened, _) in self.states.items():
            if opened is before:
                self.states[name] = before, after


@dataclass(frozen=True)
class Call:
    """A layer applied to values.

    arguments: other arguments of the call by name ("initial_state", "mask"...): values, lists of values, or plain JSON.
    base: the name of this call in the graph. home: the name of the layer, for its arrays, which all its calls share.
    calls: how often the model calls the layer.
    run: applies a call of any layer or model.
    """

    graph: KerasGraphBuilder
    rules: Rules
    layer: LayerConfig
    weights: LayerWeights
    inputs: Sequence[Tensor]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    base: str = ""
    home: str = ""
    calls: int = 1
    run: Callable[[Call], list[Tensor]] | None = None

    @property
    def x(self) -> Tensor:
        """The only input; an error if there are more."""
        if len(self.inputs) != 1:
            raise self.layer.damaged(f"got {len(self.inputs)} inputs, expected one")
        return self.inputs[0]

    def masks(self) -> tuple[list[Value | None], list[Value | None]]:
        """For each input: the mask that the layer computes with, and the mask that it may pass on.

        Masks in the call replace those of the inputs; so does a list of masks that are all None. In Keras 3, if the
        call has another tensor beside the input, the input's own mask is passed on but not computed with.
        """
        own = [x.mask for x in self.inputs]
        given = self.arguments.get("mask")
        named = [m.value if isinstance(m, Tensor) else None for m in (given if isinstance(given, list) else [given])]
        none: list[Value | None] = [None] * len(own)
        handed = own if len(own) == 1 or self.rules.lists_have_masks else none
        if given and (isinstance(given, list) or any(named)):
            named = [*named, *none][: len(own)]
            return named, named if self.rules.named_mask_travels else handed
        others = [value for name, value in self.arguments.items() if name != "mask"]
        beside = self.rules.states_hide_mask and any(_holds_tensor(value) for value in others)
        return none if beside else own, handed

    def of(self, layer: LayerConfig, weights: LayerWeights, *inputs: Tensor) -> Call:
        """The call of a layer inside this one, on the same inputs unless others are given."""
        return replace(self, layer=layer, weights=weights, inputs=inputs or self.inputs, arguments={})

    def check_arguments(self, *known: str) -> None:
        """Refuse a call argument that changes the result and that the handler does not know."""
        for name, value in self.arguments.items():
            if name == "training" and value is True:
                raise self.layer.unsupported(
                    "it is called with training=True", "inference would be random; save the model without it"
                )
            if name not in known and value not in (None, [], {}, False):
                raise self.layer.unsupported(
                    f"it is called with the argument {name!r}", "build the model from layers that do not need it"
                )

    def axis(self, value: Tensor, axis: int, what: str = "axis", *, rank: int | None = None) -> int:
        """The number of `axis`, counted from 0, in `value` or in a value with `rank` axes."""
        rank = value.rank if rank is None else rank
        if not -rank <= axis < rank:
            raise self.layer.damaged(f"{what} is {axis}, the input has {rank} axes")
        return axis % rank

    def axes(self, value: Tensor, key: str = "axis") -> list[int]:
        """The axes in the attribute `key`, counted from 0 and sorted; all axes if it is null or absent."""
        if self.layer.get(key, default=None) is None:
            return list(range(value.rank))
        return sorted(self.axis(value, axis, key) for axis in self.layer.integers(key))

    def one_axis(self, value: Tensor) -> int:
        """The attribute `axis`, counted from 0; an error if it is null."""
        if self.layer.get("axis", default=None) is None:
            raise self.layer.unsupported("axis is None", "give one axis")
        return self.axis(value, self.layer.integer("axis"))

    def check_masks(self) -> None:
        """Refuse to make a mask if the file does not say which version of Keras wrote it."""
        if not self.rules.exact:
            raise self.layer.unsupported(
                "it makes a mask by rules that depend on the version of Keras, which the file does not say",
                'add "keras_version": "3.x.y" to the outermost object of the configuration',
            )

    def known(self, value: Tensor, axis: int) -> int:
        """The size of `axis`, counted from 0; an error if the file leaves it free."""
        size = value.shape[axis]
        if size is None:
            raise UnsupportedModelError(
                f"{self.layer}: the size of axis {axis} is free in the file: save the model with that size given"
                " in its Input"
            )
        return size


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, list) and any(map(_holds_tensor, value)))
