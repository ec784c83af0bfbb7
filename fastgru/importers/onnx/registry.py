"""The ONNX operators that are imported: one function each, with the versions of its definition that it knows.

    @operator("Softmax", versions=(1, 11, 13), inputs=(1, 1))
    def softmax(node, build): ...

A function takes an `OnnxNode` and the `Builder`, and returns the value of its output, or a tuple of values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from fastgru.importers.onnx.values import Value

if TYPE_CHECKING:
    from fastgru.importers.onnx.builder import Builder
    from fastgru.importers.onnx.node import OnnxNode

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "Operator", "lookup", "operator", "operators"]

OLDEST_OPSET: Final = 7
# The newest opset whose definitions were read; a test holds `versions` against the schemas of the onnx package.
NEWEST_OPSET: Final = 28

Convert = Callable[["OnnxNode", "Builder"], "Value | tuple[Value, ...]"]
Registered = TypeVar("Registered", Convert, None)


@dataclass(frozen=True)
class Operator:
    """One operator: the versions of its definition in opsets 7 to `NEWEST_OPSET`, its arity, and what it becomes.

    constants: the inputs, by index, that must be known when the model is read; sizes: those that must be known when a
    plan is made, as they are where they follow from constants and shapes. limits: what else is refused.
    convert: None where a node is replaced by the body of ONNX's own definition, see `functions`.
    """

    name: str
    versions: tuple[int, ...]
    min_inputs: int
    max_inputs: int | None
    max_outputs: int | None
    convert: Convert | None
    constants: Mapping[int, str] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    limits: str = ""

    @property
    def since(self) -> int:
        """The first opset, of those that are read, that has the operator."""
        return max(self.versions[0], OLDEST_OPSET)

    def version_for(self, opset: int) -> int:
        """The version that `opset` selects, 0 where the operator came later."""
        return max((v for v in self.versions if v <= opset), default=0)


_OPERATORS: Final[dict[str, Operator]] = {}


def operator(
    name: str,
    *,
    versions: tuple[int, ...],
    inputs: tuple[int, int | None],
    outputs: int | None = 1,
    constants: Mapping[int, str] | None = None,
    sizes: tuple[int, ...] = (),
    limits: str = "",
) -> Callable[[Registered], Registered]:
    """Register the decorated function, see `Operator`."""

    def register(convert: Registered) -> Registered:
        assert name not in _OPERATORS, name
        _OPERATORS[name] = Operator(
            name, tuple(sorted(versions)), *inputs, outputs, convert, constants or {}, sizes, limits
        )
        return convert

    return register


def lookup(name: str) -> Operator | None:
    """The operator of the domain ai.onnx with this name."""
    return _OPERATORS.get(name)


def operators() -> tuple[Operator, ...]:
    """Every operator that is imported, by name."""
    return tuple(_OPERATORS[name] for name in sorted(_OPERATORS))
