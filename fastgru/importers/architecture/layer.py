"""One layer of a description while it becomes nodes: what every handler needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import TensorSpec
from fastgru.importers.architecture.options import Options
from fastgru.importers.architecture.parameters import Parameters, Sizes
from fastgru.importers.architecture.values import Builder, Shape, shape_of, shown

__all__ = ["Layer"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """A layer with its inputs.

    states: the inputs that the layer opens for its states. value: a value of the network by the name that the
    description gives it. dimension: the input of the network, and its axis, of a free dimension's name, or None.
    open_state: the input of such a name, of this form.
    """

    name: str
    type: str
    inputs: tuple[TensorSpec, ...]
    input_names: tuple[str, ...]
    states: tuple[str, ...]
    options: Options
    parameters: Parameters
    builder: Builder
    value: Callable[[str], TensorSpec]
    dimension: Callable[[str], tuple[TensorSpec, int] | None]
    open_state: Callable[[str, TensorSpec], TensorSpec]

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.type})"

    @property
    def x(self) -> TensorSpec:
        return self.inputs[0]

    @property
    def rank(self) -> int:
        return len(shape_of(self.x))

    def wrong_input(self, expected: str, index: int = 0) -> ShapeError:
        """The error for an input of a shape that does not fit."""
        x, name = self.inputs[index], self.input_names[index]
        return ShapeError(f"{self}: its input {name!r} has shape {shown(x)}, expected {expected}")

    def invalid(self, fault: str) -> InvalidModelError:
        return InvalidModelError(f"{self}: {fault}")

    def unsupported(self, fault: str, way: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self}: {fault}: {way}")

    def need_float(self) -> None:
        """Raise unless every input is floating."""
        for name, x in zip(self.input_names, self.inputs, strict=True):
            if not x.dtype.startswith("float"):
                raise ShapeError(f"{self}: its input {name!r} is {x.dtype}, expected a float")

    def need_rank(self, *ranks: int, form: str) -> None:
        if self.rank not in ranks:
            raise self.wrong_input(form)

    def check_size(self, name: str, found: Any) -> None:
        """Raise `ShapeError` where the description gives `name`, and the weights say otherwise."""
        if name in self.options and self.options.raw(name) != found:
            raise ShapeError(f"{self}: {name} is {self.options.raw(name)!r}, but its weights say {found!r}")

    def axis(self, option: str, default: Any = ..., *, rank: int | None = None) -> int:
        """The axis that an option names, counted from 0; rank: of what it is an axis, by default of the input."""
        axis = self.options.integer(option) if default is ... else self.options.integer(option, default)
        return self.normal_axis(axis, self.rank if rank is None else rank)

    def axes(self, option: str) -> list[int]:
        """The axes of the input that an option names, each once, sorted."""
        axes = [self.normal_axis(axis, self.rank) for axis in self.options.integers(option)]
        if len(set(axes)) != len(axes):
            raise self.options.wrong(option, "each axis once")
        return sorted(axes)

    def normal_axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < rank:
            raise self.wrong_input(f"one with an axis {axis}")
        return axis % rank

    def weight(self, name: str, expected: Sizes) -> Array:
        """A parameter that must be there; see `Parameters.take`."""
        why = f": its input {self.input_names[0]!r} is {shown(self.x)}" if self.inputs else ""
        return self.parameters.take(name, expected, why=why)

    def stored(self, name: str, array: Array) -> str:
        """The constant of a parameter."""
        return self.builder.constant(self.parameters.key(name), array)

    def constant(self, hint: str, values: Any, dtype: str = "int64") -> str:
        """A constant that the layer itself needs."""
        return self.builder.constant(f"{self.name}/{hint}", np.asarray(values, dtype=dtype))

    def add(
        self,
        op: str,
        inputs: Sequence[TensorSpec | str | None],
        outputs: Sequence[TensorSpec],
        **attrs: Any,
    ) -> tuple[TensorSpec, ...]:
        """A node with several outputs, whose shapes are given; their names say what they are of the layer."""
        named = [replace(spec, name=f"{self.name}/{spec.name}" if spec.name else self.name) for spec in outputs]
        return self.builder.add(op, inputs, named, attrs, named[0].name)

    def apply(
        self,
        op: str,
        x: TensorSpec,
        *inputs: TensorSpec | str | None,
        shape: Shape | None = None,
        dims: tuple[str | None, ...] | None = None,
        dtype: str | None = None,
        **attrs: Any,
    ) -> TensorSpec:
        """A node with one output, which is as x is in what is not given; dims are dropped where a new shape is."""
        if shape is not None and dims is None:
            dims = (None,) * len(shape)
        out = TensorSpec(
            "", dtype or x.dtype, shape_of(x) if shape is None else shape, x.dims if dims is None else dims
        )
        return self.add(op, [x, *inputs], [out], **attrs)[0]
