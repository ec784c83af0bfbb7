"""Which types of layers there are, what each may be told, and what its function gets: a layer of a description."""

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
    """The shape: free dimensions by their names."""
    sizes = [n or "?" if s is None else str(s) for s, n in zip(value.shape, value.dims, strict=True)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


@dataclass(frozen=True)
class DescribedLayer:
    """A layer with its inputs.

    states: the inputs that the layer opens for its states. lengths: the input of that name, which is opened for the
    layer. value: a value of the network by the name that the description gives it. dimension: the input of the network,
    and its axis, of a free dimension's name, or None.
    open_state: the input of such a name, of this form.
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
            if not (x.dtype or "").startswith("float"):
                raise ShapeError(f"{self}: its input {name!r} is {x.dtype}, expected a float")

    def need_rank(self, *ranks: int, form: str) -> None:
        if self.rank not in ranks:
            raise self.wrong_input(form)

    def check_sizes(self, **found: Any) -> None:
        """Raise `ShapeError` where the description gives one of these options, and the weights say otherwise."""
        for name, value in found.items():
            if name in self.options and self.options.raw(name) != value:
                raise ShapeError(f"{self}: {name} is {self.options.raw(name)!r}, but its weights have {value!r}")

    def spatial(self) -> int:
        """How many axes a layer whose type ends in 1d or 2d slides over."""
        n = int(self.type[-2])
        self.need_rank(n + 2, form=f"{n + 2} axes: (N, C, {'L' if n == 1 else 'H, W'})")
        return n

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

    def form(self, shape: Shape, dims: Sequence[str | None]) -> Value:
        """What a state is like."""
        assert self.x.dtype is not None
        return self.builder.input(self.name, self.x.dtype, shape, dims)

    def normal_axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < rank:
            raise self.wrong_input(f"one with an axis {axis}")
        return axis % rank

    def weight(self, name: str, expected: Sizes) -> Array:
        """A parameter that must be there; see `Parameters.take`."""
        why = f": its input {self.input_names[0]!r} is {shown(self.x)}" if self.inputs else ""
        return self.parameters.take(name, expected, why=why)

    def stored(self, name: str, array: Array) -> Value:
        """The constant of a parameter."""
        return self.builder.constant(array, self.parameters.key(name))

    def stored_with_bias(self, weight: Array, outputs: int, prefix: str = "") -> list[Value]:
        """The constants of a weight and, where there is one, of the bias (outputs,) beside it."""
        bias = self.parameters.optional(f"{prefix}bias", (outputs,))
        arrays = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return [self.stored(f"{prefix}{name}", array) for name, array in arrays.items()]

    def asked_lengths(self, row: int) -> Value | None:
        """What the option `lengths` names: a value, or with `true` the input "lengths"; None where there is none.

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
        """A constant that the layer itself needs."""
        return self.builder.constant(np.asarray(values, dtype=dtype), f"{self.name}/{hint}")

    def add(self, op: str, inputs: Sequence[Value | None], names: Sequence[str], **attrs: Any) -> tuple[Value, ...]:
        """A node with several outputs; names say what they are of the layer."""
        hints = [f"{self.name}/{name}" if name else self.name for name in names]
        return self.builder.add_many(op, inputs, hints, attrs)

    def apply(self, op: str, *inputs: Value | None, **attrs: Any) -> Value:
        """A node with one output."""
        return self.builder.add(op, inputs, self.name, attrs)


Handler = Callable[[DescribedLayer], Value | tuple[tuple[str, Value], ...]]


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
    """Enter the function that follows for the types `names`; the texts list names, with blanks between."""

    def register(handler: Handler) -> Handler:
        for name in names:
            own, told, idle = (tuple(text.split()) for text in (options, sizes, training))
            found = LayerType(name, handler, own, told, idle, inputs, weights, states, floats)
            enter(_TYPES, name, found, handler)
        return handler

    return register


def types() -> Mapping[str, LayerType]:
    """Every type of layer by its name, sorted."""
    return dict(sorted(_TYPES.items()))
