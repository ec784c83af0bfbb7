"""The registry of the types of layers, with their options, and the layer of a description that their functions get."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graphbuilder import GraphBuilder, Value
from fastgru.importers.architecture.options import LayerOptions
from fastgru.importers.architecture.parameters import Parameters, Sizes
from fastgru.modules import enter
from fastgru.records import dataclass

__all__ = ["DescribedLayer", "LayerType", "Shape", "layer_type", "shown", "types"]

Shape = tuple[int | None, ...]


def shown(value: Value) -> str:
    """Return the shape as a text, with free dimensions by their names."""
    sizes = [n or "?" if s is None else str(s) for s, n in zip(value.shape, value.dims, strict=True)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


@dataclass(frozen=True)
class DescribedLayer:
    """A layer with its inputs.

    states: the names of the inputs that the layer adds for its states. lengths: returns the input "lengths", and adds
    it if necessary. value: returns a value of the network by its name in the description. dimension: returns the input
    of the network and the axis that have a free dimension of this name, or None.
    open_state: adds an input with this name, like this value, and returns it.
    """

    name: str
    type: str
    inputs: tuple[Value, ...]
    input_names: tuple[str, ...]
    states: tuple[str, ...]
    options: LayerOptions
    parameters: Parameters
    builder: GraphBuilder
    value: Callable[[str], Value]
    lengths: Callable[[int | None, str | None], Value]
    dimension: Callable[[str], tuple[Value, int] | None]
    open_state: Callable[[str, Value], Value]

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.type})"

    @property
    def x(self) -> Value:
        return self.inputs[0]

    @property
    def rank(self) -> int:
        return len(self.x.shape)

    def wrong_input(self, expected: str, index: int = 0) -> ShapeError:
        """Return the error for an input of a wrong shape."""
        x, name = self.inputs[index], self.input_names[index]
        return ShapeError(f"{self}: its input {name!r} has shape {shown(x)}, expected {expected}")

    def invalid(self, fault: str) -> InvalidModelError:
        return InvalidModelError(f"{self}: {fault}")

    def unsupported(self, fault: str, way: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self}: {fault}: {way}")

    def need_float(self) -> None:
        """Raise `ShapeError` unless every input is floating-point."""
        for name, x in zip(self.input_names, self.inputs, strict=True):
            if not (x.dtype or "").startswith("float"):
                raise ShapeError(f"{self}: its input {name!r} is {x.dtype}, expected a float")

    def need_rank(self, *ranks: int, form: str) -> None:
        if self.rank not in ranks:
            raise self.wrong_input(form)

    def check_sizes(self, **found: Any) -> None:
        """Raise `ShapeError` if the description gives one of these options and the weights have another value.

        Raises `InvalidModelError`, which offers other prefixes, if there are no weights at all under the prefix.
        """
        for name, value in found.items():
            if name in self.options and self.options.raw(name) != value:
                if not self.parameters.names():
                    cells = self.type.endswith("Cell")
                    recurrent = cells or self.type in ("GRU", "LSTM", "RNN")
                    self.parameters.take("weight_hh" + "_l0" * (not cells) if recurrent else "weight", None)
                raise ShapeError(f"{self}: {name} is {self.options.raw(name)!r}, but its weights have {value!r}")

    def spatial(self) -> int:
        """Return the number of spatial axes of a layer whose type ends in 1d or 2d, and check the rank of its input."""
        n = int(self.type[-2])
        self.need_rank(n + 2, form=f"{n + 2} axes: (N, C, {'L' if n == 1 else 'H, W'})")
        return n

    def axis(self, option: str, default: Any = ..., *, rank: int | None = None) -> int:
        """Return the axis that an option names, counted from 0, in a value with `rank` axes, by default in x."""
        axis = self.options.integer(option) if default is ... else self.options.integer(option, default)
        return self.normal_axis(axis, self.rank if rank is None else rank)

    def axes(self, option: str) -> list[int]:
        """Return the axes of the input that an option names, each once, sorted."""
        axes = [self.normal_axis(axis, self.rank) for axis in self.options.integers(option)]
        if len(set(axes)) != len(axes):
            raise self.options.wrong(option, "each axis once")
        return sorted(axes)

    def form(self, shape: Shape, dims: Sequence[str | None]) -> Value:
        """Return a value with the shape of a state, in the dtype of x."""
        assert self.x.dtype is not None
        return self.builder.input(self.name, self.x.dtype, shape, dims)

    def normal_axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < rank:
            raise self.wrong_input(f"one with an axis {axis}")
        return axis % rank

    def weight(self, name: str, expected: Sizes) -> Array:
        """Return a required parameter (see `Parameters.take`)."""
        why = f": its input {self.input_names[0]!r} is {shown(self.x)}" if self.inputs else ""
        return self.parameters.take(name, expected, why=why)

    def stored(self, name: str, array: Array) -> Value:
        """Return the constant of a parameter."""
        return self.builder.constant(array, self.parameters.key(name))

    def stored_with_bias(self, weight: Array, outputs: int, prefix: str = "") -> list[Value]:
        """Return the constants of a weight and of the bias (outputs,) beside it, if there is one."""
        bias = self.parameters.optional(f"{prefix}bias", (outputs,))
        arrays = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return [self.stored(f"{prefix}{name}", array) for name, array in arrays.items()]

    def asked_lengths(self, row: int) -> Value | None:
        """Return the value that the option `lengths` names, or the input "lengths" for true; None without the option.

        row: the axis of the batch in x.
        """
        if (given := self.options.raw("lengths") if "lengths" in self.options else False) is False:
            return None
        lengths = (
            self.lengths(self.x.shape[row], self.x.dims[row])
            if given is True
            else self.value(self.options.text("lengths"))
        )
        if not (lengths.dtype or "").startswith("int") or len(lengths.shape) != 1:
            name = "lengths" if given is True else given
            raise ShapeError(
                f"{self}: lengths {name!r} is {lengths.dtype} of shape {shown(lengths)}, expected int64 (N,)"
            )
        return lengths

    def constant(self, hint: str, values: Any, dtype: str = "int64") -> Value:
        """Return a constant that the layer itself needs."""
        return self.builder.constant(np.asarray(values, dtype=dtype), f"{self.name}/{hint}")

    def add(self, op: str, inputs: Sequence[Value | None], names: Sequence[str], **attrs: Any) -> tuple[Value, ...]:
        """Add a node and return its outputs; `names` are appended to the layer's name to name them."""
        hints = [f"{self.name}/{name}" if name else self.name for name in names]
        return self.builder.add_many(op, inputs, hints, attrs)

    def apply(self, op: str, *inputs: Value | None, **attrs: Any) -> Value:
        """Add a node with one output, and return this output."""
        return self.builder.add(op, inputs, self.name, attrs)


Handler = Callable[[DescribedLayer], Value | tuple[tuple[str, Value], ...]]


@dataclass(frozen=True)
class LayerType:
    """One type of layer.

    options: those that change the result. sizes: options that follow from the weights and are only checked. training:
    options that only affect training and are ignored. inputs: the fewest and the most values that it takes, None for
    any number. has_weights: it takes `prefix` and `keys`. has_states: it takes `states`. floats: its inputs must be
    floating-point.
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
        common = ["name", "type", "inputs", *(["prefix", "keys"] if self.has_weights else [])]
        common += ["states"] if self.has_states else []
        return (*common, *self.options, *self.sizes, *self.training)


_TYPES: Final[dict[str, LayerType]] = {}


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
    """Register the decorated function for the types `names`; options, sizes and training list names with spaces."""

    def register(handler: Handler) -> Handler:
        for name in names:
            own, told, idle = (tuple(text.split()) for text in (options, sizes, training))
            found = LayerType(name, handler, own, told, idle, inputs, weights, states, floats)
            enter(_TYPES, name, found, handler)
        return handler

    return register


def types() -> Mapping[str, LayerType]:
    """Return every type of layer by its name, sorted."""
    return dict(sorted(_TYPES.items()))
