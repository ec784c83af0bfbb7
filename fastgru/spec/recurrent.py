"""The base of the specs of all recurrent layers: checks, conversion to plain data, and the shapes of the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Final, Self

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import SpecError
from fastgru.records import dataclass
from fastgru.spec.activation import Activation, activation_from, is_number

__all__ = ["DIRECTIONS", "RecurrentSpec", "RecurrentWeights", "check_weights"]

DIRECTIONS: Final = ("forward", "reverse", "bidirectional")


class RecurrentSpec:
    """The base of `GRUSpec`, `LSTMSpec` and `RNNSpec`, which are frozen dataclasses.

    KIND: the name of the layer in messages. GATES: how many blocks of H rows weight_ih and weight_hh have. STATES: the
    names of the states. FUNCTIONS: {field: default} for the fields with an `Activation` for each direction. FLAGS: the
    fields that are True or False.
    """

    KIND: ClassVar[str]
    GATES: ClassVar[int]
    STATES: ClassVar[tuple[str, ...]] = ("h",)
    FUNCTIONS: ClassVar[Mapping[str, Activation]]
    FLAGS: ClassVar[tuple[str, ...]] = ("batch_first",)

    input_size: int
    hidden_size: int
    direction: str
    clip: float | None
    batch_first: bool
    mask_output: str

    def __post_init__(self) -> None:
        faults = []
        for name in ("input_size", "hidden_size"):
            size = getattr(self, name)
            if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
                faults.append(f"{name} is {size!r}, expected an integer of at least 1")
        if self.direction not in DIRECTIONS:
            faults.append(f"direction is {self.direction!r}, expected one of {', '.join(DIRECTIONS)}")
        for name in self.FLAGS:
            if not isinstance(getattr(self, name), bool | np.bool_):
                faults.append(f"{name} is {getattr(self, name)!r}, expected True or False")
            else:
                object.__setattr__(self, name, bool(getattr(self, name)))
        if self.clip is not None and not (is_number(self.clip) and 0 < self.clip < float("inf")):
            faults.append(f"clip is {self.clip!r}, expected a positive number or None")
        if self.mask_output not in ("carry", "zero"):
            faults.append(f"mask_output is {self.mask_output!r}, expected 'carry' or 'zero'")
        for name, default in self.FUNCTIONS.items():
            given = getattr(self, name)
            if not isinstance(given, tuple | list) or not all(isinstance(a, Activation) for a in given):
                faults.append(f"{name} is {given!r}, expected an Activation for each direction")
                continue
            given = tuple(given) or (default,) * self.num_directions
            object.__setattr__(self, name, given)
            if len(given) != self.num_directions:
                faults.append(f"{name} has {len(given)} entries for {self.num_directions} direction(s)")
        if faults:
            raise SpecError(f"{self.KIND} spec: " + "; ".join(faults))
        object.__setattr__(self, "input_size", int(self.input_size))
        object.__setattr__(self, "hidden_size", int(self.hidden_size))

    @property
    def num_directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    @property
    def output_size(self) -> int:
        return self.num_directions * self.hidden_size

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array of one direction, in the order of the operator's inputs."""
        rows, H = self.GATES * self.hidden_size, self.hidden_size
        return {"weight_ih": (rows, self.input_size), "weight_hh": (rows, H), "bias_ih": (rows,), "bias_hh": (rows,)}

    def functions(self, direction: int) -> tuple[Activation, ...]:
        """The activations of one direction, in the order of FUNCTIONS."""
        return tuple(getattr(self, name)[direction] for name in self.FUNCTIONS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold. `from_dict` is the inverse."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a spec from the result of `to_dict`. Raises `SpecError` for missing, unknown or wrong fields."""
        if not isinstance(data, Mapping):
            raise SpecError(f"{cls.KIND} spec: got {type(data).__name__}, expected fields and values")
        known = set(cls.__dataclass_fields__)  # type: ignore[attr-defined]
        if unknown := sorted(set(data) - known, key=str):
            raise SpecError(f"{cls.KIND} spec: unknown fields {', '.join(map(str, unknown))}")
        if missing := sorted({"input_size", "hidden_size"} - set(data)):
            raise SpecError(f"{cls.KIND} spec: missing fields {', '.join(missing)}")
        fields = dict(data)
        for name in cls.FUNCTIONS:
            if isinstance(fields.get(name), list | tuple):
                fields[name] = tuple(activation_from(a, cls.KIND) for a in fields[name])
        return cls(**fields)


@dataclass(frozen=True)
class RecurrentWeights:
    """The weights of one direction, with the rows of each gate together. A bias may be None for zeros."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None = None
    bias_hh: Array | None = None


def _dtype(array: Any) -> np.dtype[Any]:
    """Return the dtype of an array, without loading a lazy one."""
    dtype = getattr(array, "dtype", None)
    return np.asarray(array).dtype if dtype is None else np.dtype(dtype)


def check_weights(spec: RecurrentSpec, weights: Sequence[Any], *, what: str = "") -> None:
    """Raise `SpecError`, which names every array that is missing or whose shape or dtype does not fit `spec`.

    Biases and peepholes may be None. what: the name of the layer in the message.
    """
    faults = []
    if len(weights) != spec.num_directions:
        faults.append(f"weights for {len(weights)} direction(s), expected {spec.num_directions}")
    for d, w in enumerate(weights):
        for name, shape in spec.weight_shapes.items():
            array = getattr(w, name)
            if array is None:
                if name.startswith("weight"):
                    faults.append(f"direction {d}: {name} is missing")
            elif np.shape(array) != shape:
                faults.append(f"direction {d}: {name} has shape {np.shape(array)}, expected {shape}")
            elif (dtype := _dtype(array)).kind != "f" and dtype.name != "bfloat16":
                faults.append(f"direction {d}: {name} has dtype {dtype}, expected a float")
    if faults:
        raise SpecError(f"{what or spec.KIND}: " + "; ".join(faults))
