"""Make a definition an operator. Its Python signature is the schema, and nothing outside the schema is accepted.

Positional parameters are the inputs (a default of None marks an optional one, *rest any number). Keyword-only
parameters are the attributes, and their annotations tell which values these take: see `fastgru.reference.attributes`.
Everything else that is true of an operator stands beside the definition, in the `Facts` of its decorator:

    @operator("softmax", Facts(same, flops=5))
    def softmax(x, *, axis): ...

`OPS` imports each module of this folder when one of its operators is first used.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Final, Self, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import ArrayLike

from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.families import homes
from fastgru.graph import DTYPES, Array
from fastgru.kinds import way_round
from fastgru.modules import Families, late
from fastgru.process import once
from fastgru.records import dataclass
from fastgru.reference.attributes import check_attribute, test_of
from fastgru.reference.dims import Facts
from fastgru.reference.operand import dtype_name

__all__ = [
    "OPS", "Array", "Operator", "Schema", "as_array", "is_floating", "need_bool", "need_floating",
    "numpy_dtype", "operator", "same_dtype",
]  # fmt: skip

Definition = TypeVar("Definition", bound=Callable[..., Any])


def as_array(what: str, value: ArrayLike) -> Array:
    """Return `value` as an array. Raises `ShapeError`, which names `what`, for ragged lists and other objects."""
    try:
        array: Array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{what}: {type(value).__name__} cannot become an array ({error}){way_round(value)}") from None
    if array.dtype.kind == "O":
        what_came = "an array of objects" if isinstance(value, np.ndarray) else type(value).__name__
        named = ": arrays by name go to run({name: array})" if isinstance(value, Mapping) else ""
        raise ShapeError(f"{what}: got {what_came}, expected an array of numbers{named or way_round(value)}")
    return array


def is_floating(dtype: Any) -> bool:
    """Return whether a dtype is a floating-point dtype, bfloat16 included."""
    dtype = np.dtype(dtype)
    return bool(dtype.kind == "f" or dtype_name(dtype) == "bfloat16")


def need_floating(what: str, x: Array) -> None:
    """Raise `ShapeError` unless x is floating-point."""
    if not is_floating(x.dtype):
        raise ShapeError(f"{what}: x has dtype {x.dtype}, expected a float")


def need_bool(what: str, x: Array) -> None:
    """Raise `ShapeError` unless x is bool."""
    if x.dtype != np.bool_:
        raise ShapeError(f"{what}: got dtype {x.dtype}, expected bool")


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of a name in `graph.DTYPES`. Raises `UnsupportedModelError` for another name."""
    if name not in DTYPES:
        raise UnsupportedModelError(f"dtype {name!r} is not one of {', '.join(DTYPES)}")
    if name == "bfloat16":
        name = late("ml_dtypes").bfloat16
    return np.dtype(name)


def same_dtype(**arrays: Array | None) -> None:
    """Raise `ShapeError` unless all arrays but None have one dtype: only cast converts."""
    dtypes = {name: a.dtype for name, a in arrays.items() if a is not None}
    if len(set(dtypes.values())) > 1:
        came = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise ShapeError(f"got {came}, expected equal dtypes")


@dataclass(frozen=True)
class Schema:
    """The names of the inputs and the kinds of the attributes of a node, from the signature of its definition.

    rest: the name of the *rest inputs, None if there are none. gaps: whether some of these may be absent. outputs: how
    many there are, None for any number. agree: raises if attributes that are valid alone contradict each other.
    """

    required_inputs: tuple[str, ...]
    optional_inputs: tuple[str, ...]
    rest: str | None
    gaps: bool
    required_attrs: tuple[str, ...]
    optional_attrs: tuple[str, ...]
    kinds: Mapping[str, Any]
    outputs: int | None
    agree: Callable[..., None] | None = None

    @classmethod
    def of(cls, function: Callable[..., Any], agree: Callable[..., None] | None = None) -> Self:
        parameters = inspect.signature(function).parameters.values()
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        hints = get_type_hints(function, include_extras=True)
        results = get_args(hints["return"]) if get_origin(hints["return"]) is tuple else (Array,)
        return cls(
            tuple(p.name for p in positional if p.default is p.empty),
            tuple(p.name for p in positional if p.default is not p.empty),
            rest,
            rest is not None and NoneType in get_args(hints[rest]),
            tuple(p.name for p in keywords if p.default is p.empty),
            tuple(p.name for p in keywords if p.default is not p.empty),
            {p.name: hints[p.name] for p in keywords},
            None if Ellipsis in results else len(results),
            agree,
        )

    @once
    def tests(self) -> dict[str, Callable[[Any], bool]]:
        """The tests of the attributes, by name."""
        return {name: test_of(kind) for name, kind in self.kinds.items()}

    def check(self, present: Sequence[bool], attrs: Mapping[str, Any], outputs: int | None = None) -> None:
        """Check the inputs and attributes of a node. present: whether each input is. outputs: how many the node names.

        Raises `InvalidModelError` for a missing or wrong one, `UnsupportedModelError` for an unknown one.
        """
        named, required = len(self.required_inputs) + len(self.optional_inputs), len(self.required_inputs)
        if len(present) < required or not all(present[:required]):
            missing = [n for i, n in enumerate(self.required_inputs) if i >= len(present) or not present[i]]
            raise InvalidModelError(f"input {', '.join(missing)} is missing")
        if self.rest is None and len(present) > named:
            raise UnsupportedModelError(f"got {len(present)} inputs, expected at most {named}")
        if not self.gaps and not all(present[named:]):
            raise InvalidModelError(f"one of the inputs {self.rest} is missing")
        if outputs is not None and not 1 <= outputs <= (self.outputs or outputs):
            raise InvalidModelError(f"got {outputs} outputs, expected {_between(1, self.outputs)}")
        if missing := [n for n in self.required_attrs if n not in attrs]:
            raise InvalidModelError(f"attribute {', '.join(missing)} is missing")
        if attrs.keys() - self.kinds.keys():
            unknown = sorted(map(str, attrs.keys() - self.kinds.keys()))
            raise UnsupportedModelError(f"attribute {', '.join(unknown)} is unknown")
        for name, value in attrs.items():
            check_attribute(name, self.kinds[name], self.tests[name], value)
        if self.agree is not None:
            self.agree(**attrs)


def _between(least: int, most: int | None) -> str:
    """Return "1", "1 to 3" or, without an upper limit, "at least 1"."""
    return f"at least {least}" if not most else str(least) if least == most else f"{least} to {most}"


class Operator:
    """`operator(inputs, attrs) -> outputs`, made from a function `f(*inputs, **attrs) -> array or tuple of arrays`.

    bfloat16 is computed in float32 and rounded once at the end; every other dtype is computed in itself.
    """

    def __init__(
        self, function: Callable[..., Any], facts: Facts, *, converts: bool, agree: Callable[..., None] | None
    ) -> None:
        self.function, self.facts = function, facts
        self._converts, self._agree = converts, agree
        self.__doc__ = function.__doc__

    @once
    def schema(self) -> Schema:
        return Schema.of(self.function, self._agree)

    def __call__(self, inputs: Sequence[Array | None], attrs: Mapping[str, Any]) -> tuple[Array, ...]:
        arrays = [None if a is None else np.asarray(a) for a in inputs]
        self.schema.check([a is not None for a in arrays], attrs)
        return self.compute(arrays, attrs)

    def compute(self, arrays: Sequence[Array | None], attrs: Mapping[str, Any]) -> tuple[Array, ...]:
        """Return what a call returns, without a check of the inputs and attributes."""
        short = next((a.dtype for a in arrays if a is not None and dtype_name(a.dtype) == "bfloat16"), None)
        if short is None or self._converts:
            return _as_tuple(self.function(*arrays, **attrs))
        wide = [a.astype(np.float32) if a is not None and a.dtype == short else a for a in arrays]
        outputs = _as_tuple(self.function(*wide, **attrs))
        return tuple(a.astype(short) if a.dtype == np.float32 else a for a in outputs)


def _as_tuple(result: Any) -> tuple[Array, ...]:
    return tuple(np.asarray(a) for a in (result if isinstance(result, tuple) else (result,)))


_operators: Final[dict[str, Operator]] = {}
_family: Final = Families("fastgru.reference", _operators, homes("fastgru.reference"))
OPS: Final[Mapping[str, Operator]] = _family


def operator(
    name: str, facts: Facts, *, converts: bool = False, agree: Callable[..., None] | None = None
) -> Callable[[Definition], Definition]:
    """Make a definition the operator `name`. The function itself is not changed.

    converts: it handles bfloat16 itself. agree: raises if attributes that are valid alone contradict each other.
    """

    def register(function: Definition) -> Definition:
        _family.enter(name, Operator(function, facts, converts=converts, agree=agree), function)
        return function

    return register
