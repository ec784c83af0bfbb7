"""The graph while it grows: tensors with their masks, and states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgru.graphbuilder import GraphBuilder, Value

__all__ = ["KerasGraphBuilder", "Shape", "Tensor"]

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Tensor:
    """What a layer gives to the next. mask: a bool tensor over the first axes of `value`."""

    value: Value
    mask: Value | None = None

    @property
    def shape(self) -> Shape:
        """None where a size is free."""
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
    """states: (name, before, after) of each state that is an input and an output of the model."""

    def __init__(self) -> None:
        super().__init__("float32")
        self.states: dict[str, tuple[Value, Value | None]] = {}

    def scalar(self, value: float, like: Tensor, hint: str) -> Value:
        """A constant of the dtype of `like`."""
        return self.constant(np.asarray(value, dtype=like.dtype), hint)

    def open_state(self, name: str, shape: Sequence[int | None]) -> Value:
        """A new input, `name`_in, whose next value is the output `name`_out: see `close_state`."""
        before = self.input(f"{name}_in", "float32", shape, ("batch",))
        self.states[name] = before, None
        return before

    def close_state(self, before: Value, after: Value) -> None:
        """Say what a state becomes that was opened; any other value is no state of the model."""
        for name, (opened, _) in self.states.items():
            if opened is before:
                self.states[name] = before, after
