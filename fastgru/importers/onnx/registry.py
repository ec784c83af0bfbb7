"""The registry of the ONNX operators that are imported, and the node that their functions take.

Each operator has one function, registered with the versions of the operator's definition that it implements:

    @operator("Softmax", versions=(1, 11, 13), inputs=(1, 1))
    def softmax(node, build): ...

A function takes an `OnnxNode` and the `OnnxGraphBuilder`, and returns the value of its output, or a tuple of values.
"""

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.families import homes
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.attributes import Attributes
from fastgru.importers.onnx.builder import OnnxGraphBuilder, Site, Surroundings
from fastgru.modules import Families
from fastgru.records import dataclass
from fastgru.reference.operator import is_floating, numpy_dtype

__all__ = [
    "KNOWN_DOMAINS", "MICROSOFT", "NEWEST_OPSET", "OF_OPTIMISERS", "OLDEST_OPSET", "OPERATORS", "OnnxNode",
    "OnnxOperator", "lookup", "operator", "operators", "same",
]  # fmt: skip

OLDEST_OPSET: Final = 7
# The newest opset whose definitions were read; a test holds `versions` against the schemas of the onnx package.
NEWEST_OPSET: Final = 28
MICROSOFT: Final = "com.microsoft"
OF_OPTIMISERS: Final = "ai.onnx of onnxruntime"
# Domains for which onnxruntime needs no opset import; if a file imports no opset of a domain, it means opset 1.
KNOWN_DOMAINS: Final = (MICROSOFT, "com.microsoft.nchwc", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.training")


class OnnxNode(NamedTuple):
    """`version` is the version of the operator's definition that the opset selects."""

    site: Site
    version: int
    attrs: Attributes
    around: Surroundings
    options: Mapping[str, Any]

    @property
    def op(self) -> str:
        """The operator's name."""
        return str(self.site.proto.op_type)

    @property
    def what(self) -> str:
        """The name of the node in error messages."""
        return self.site.what

    @property
    def inputs(self) -> tuple[Value | None, ...]:
        """All inputs; None for an absent one."""
        return self.site.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs; "" for one that the file does not use."""
        return tuple(self.site.proto.output)

    def input(self, index: int) -> Value:
        """The input; raise `InvalidModelError` if it is absent."""
        value = self.optional(index)
        if value is None:
            raise self.invalid(f"input {index} is missing")
        return value

    def optional(self, index: int) -> Value | None:
        """The input; None if it is absent."""
        inputs = self.site.inputs
        return inputs[index] if index < len(inputs) else None

    def wants(self, index: int) -> bool:
        """Whether the file uses output `index`."""
        return index < len(self.outputs) and bool(self.outputs[index])

    def constant(self, index: int) -> Array:
        """The array of an input that `@operator` lists in `constants`."""
        array = self.input(index).array
        assert array is not None, "the registry says which inputs are constants"
        return array

    def constant_integers(self, index: int, what: str) -> list[int] | None:
        """The integers of a constant input; None if it is absent."""
        if self.optional(index) is None:
            return None
        array = self.constant(index)
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise self.invalid(f"{what} is {array.dtype} {array.shape}, expected integers")
        return [int(v) for v in array.reshape(-1)]

    def floats(self, *values: Value) -> None:
        """Raise `UnsupportedModelError` if a value has integers, for which no kernel exists. Constants alone pass."""
        for value in values if any(v.array is None for v in values) else ():
            if value.dtype is not None and not is_floating(numpy_dtype(value.dtype)):
                raise self.unsupported(f"{self.op} of {value.dtype} is not implemented", "cast its inputs to float32")

    def finite(self, value: Value, name: str) -> Value:
        """The value itself; raise `InvalidModelError` if it is a constant with a NaN or an infinity."""
        array = value.array
        if array is not None and is_floating(array.dtype) and not np.isfinite(array).all():
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            raise self.invalid(f"{name} ({value.hint!r}) has {bad} values of {array.size} that are NaN or infinite")
        return value

    def invalid(self, fault: str) -> InvalidModelError:
        """The error to raise for a damaged file."""
        return InvalidModelError(f"{self.what}: {fault}")

    def unsupported(self, fault: str, way_round: str) -> UnsupportedModelError:
        """The error to raise for a missing feature; `way_round` tells the user what to do instead."""
        return UnsupportedModelError(f"{self.what}: {fault}; {way_round}")


Convert = Callable[[OnnxNode, OnnxGraphBuilder], Value | tuple[Value, ...]]
C = TypeVar("C", bound=Convert)


@dataclass(frozen=True)
class OnnxOperator:
    """One operator: the versions of its definition up to `NEWEST_OPSET`, its arity, and the function that converts it.

    constants: the inputs, by index, that must be known when the model is read. sizes: the inputs that must be known
    when a plan is made, because they are constants or follow from shapes. limits: what else is refused.
    """

    name: str
    versions: tuple[int, ...]
    min_inputs: int
    max_inputs: int | None
    max_outputs: int | None
    convert: Convert
    constants: Mapping[int, str] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    limits: str = ""

    @property
    def since(self) -> int:
        """The first supported opset that has the operator."""
        return max(self.versions[0], OLDEST_OPSET)

    def version_for(self, opset: int) -> int:
        """Return the version that `opset` selects, or 0 if the operator was added later."""
        return max((version for version in self.versions if version <= opset), default=0)

    def check(self, site: Site) -> None:
        """Raise `InvalidModelError` for a wrong number of inputs or outputs, `UnsupportedModelError` for an operand
        that is computed but must be a constant."""
        proto, inputs = site.proto, site.inputs
        if len(inputs) < self.min_inputs or (self.max_inputs is not None and len(inputs) > self.max_inputs):
            least, most = self.min_inputs, self.max_inputs
            expected = f"at least {least}" if most is None else least if least == most else f"{least} to {most}"
            raise InvalidModelError(f"{site.what}: got {len(inputs)} inputs, expected {expected}")
        if self.max_outputs is not None and len(proto.output) > self.max_outputs:
            raise InvalidModelError(
                f"{site.what}: got {len(proto.output)} outputs, expected at most {self.max_outputs}"
            )
        for index, name in self.constants.items():
            value = inputs[index] if index < len(inputs) else None
            if value is not None and value.array is None:
                raise UnsupportedModelError(
                    f"{site.what}: input {name} ({proto.input[index]!r}) is computed while the model runs;"
                    f" export the model so that {name} is a constant"
                )


_FOLDER: Final = "fastgru.importers.onnx.ops"
_entries: Final[dict[tuple[str, str], OnnxOperator]] = {}
OPERATORS: Final = Families(
    _FOLDER, _entries, {(key.rpartition(":")[0], key.rpartition(":")[2]): home for key, home in homes(_FOLDER).items()}
)


def operator(
    name: str,
    *,
    versions: tuple[int, ...],
    inputs: tuple[int, int | None],
    outputs: int | None = 1,
    constants: Mapping[int, str] | None = None,
    sizes: tuple[int, ...] = (),
    limits: str = "",
    domain: str = "",
) -> Callable[[C], C]:
    """Register the decorated function; for the arguments see `OnnxOperator`. domain: "" is ai.onnx.

    Raises `ValueError` if another function is registered for the operator.
    """

    def register(convert: C) -> C:
        found = OnnxOperator(name, tuple(sorted(versions)), *inputs, outputs, convert, constants or {}, sizes, limits)
        OPERATORS.enter((domain, name), found, convert)
        return convert

    return register


def same(op: str, attributes: Mapping[str, Any] | None = None, **fixed: Any) -> Convert:
    """Return the function of an ONNX operator whose inputs and attributes are those of our `op`.

    attributes: their names and defaults. fixed: further attributes of the node.
    """

    def convert(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
        inputs = [node.input(i) for i in range(len(node.inputs))]
        return build.emit(op, *inputs, **node.attrs.like(attributes or {}), **fixed)

    return convert


def lookup(name: str, domain: str = "", opset: int = NEWEST_OPSET) -> OnnxOperator | None:
    """Return the operator of this name in the domain's opset, or None. domain: "" is ai.onnx.

    onnxruntime's optimisers also write operators of their own into ai.onnx; they are registered under `OF_OPTIMISERS`.
    """
    for place in (domain, OF_OPTIMISERS) if domain == "" else (domain,):
        found = OPERATORS.get((place, name))
        if found is not None and found.version_for(opset) > 0:
            return found
    return None


def operators(domain: str = "") -> tuple[OnnxOperator, ...]:
    """Return every imported operator of a domain, sorted by name."""
    return tuple(OPERATORS[key] for key in sorted(OPERATORS) if key[0] == domain)
