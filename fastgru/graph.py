"""A model as plain data: named constants, nodes in execution order, typed inputs and outputs.

Importers and layers make graphs, `fastgru.engine` runs them, `fastgru.reference` defines what each node means.
The operators and their inputs and attributes are those of `fastgru.reference.OPS`; the vocabulary is one and
the same for every source, so a convention of a foreign format never appears here.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError

__all__ = ["DTYPES", "MOST_SIZE", "Array", "Graph", "Node", "TensorSpec"]


DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "bool")
MOST_SIZE: Final = 1 << 40  # of an axis: what is longer fits no memory


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of an input or output; None stands for a free dimension.

    `shape` is None where a file says nothing of the rank. `dims` names the free dimensions that must agree
    between tensors ("batch", "T"), None where a free dimension has no name; empty when nothing is named.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    dims: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidModelError(f"tensor {self.name!r}: dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        sizes = [] if self.shape is None else self.shape
        if not all(n is None or (type(n) is int and 0 <= n <= MOST_SIZE) for n in sizes):
            raise InvalidModelError(f"tensor {self.name!r}: shape {self.shape!r:.80} is not a list of sizes")
        if not all(dim is None or type(dim) is str for dim in self.dims):
            raise InvalidModelError(f"tensor {self.name!r}: dims {self.dims!r:.80} is not a list of names")
        if self.dims and (self.shape is None or len(self.dims) != len(sizes)):
            raise InvalidModelError(f"tensor {self.name!r}: {len(self.dims)} dims do not fit the shape")


@dataclass(frozen=True)
class Node:
    """One operation. An absent optional input is the empty string. `attrs` holds JSON-plain values only."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __str__(self) -> str:
        return f"{self.op} {self.name or (self.outputs[0] if self.outputs else '?')!r}"


@dataclass(frozen=True)
class Graph:
    """Inputs, outputs, nodes in an order in which every input is known before it is read, and constants.

    `states` pairs an input with the output that is its next value, where the source says so.
    `precisions` gives nodes, by an output of theirs, the precision their weights are kept in, where that is a smaller
    one than the others'; the weights of such a node are bfloat16 constants, or int8 ones behind a `dequantize`.
    `meta` is a flat dict of strings: producer, format, version, licence: shown by `inspect`, never computed with.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    precisions: Mapping[str, str] = field(default_factory=dict)

    def validate(self) -> Self:
        """Return self, or raise `InvalidModelError`: undefined or twice defined values, unknown outputs or states."""
        defined = set(self.constants)
        for spec in self.inputs:
            if spec.name in defined:
                raise InvalidModelError(f"graph {self.name!r}: input {spec.name!r} is defined twice")
            defined.add(spec.name)
        for node in self.nodes:
            for name in node.inputs:
                if name and name not in defined:
                    raise InvalidModelError(
                        f"graph {self.name!r}: {node} reads {name!r}, which nothing before it defines"
                        " (a missing tensor, or nodes in a cycle)"
                    )
            for name in node.outputs:
                if name in defined:
                    raise InvalidModelError(f"graph {self.name!r}: {node} defines {name!r} a second time")
                if name:
                    defined.add(name)
        for spec in self.outputs:
            if spec.name not in defined:
                raise InvalidModelError(f"graph {self.name!r}: output {spec.name!r} is defined by nothing")
        names_in = {spec.name for spec in self.inputs}
        names_out = {spec.name for spec in self.outputs}
        for source, target in self.states.items():
            if source not in names_in or target not in names_out:
                pair = f"{source!r} -> {target!r}"
                raise InvalidModelError(f"graph {self.name!r}: state {pair} is not an input and an output")
        if unknown := sorted(set(self.precisions) - {name for node in self.nodes for name in node.outputs}):
            raise InvalidModelError(f"graph {self.name!r}: precisions of {unknown[:10]}, which no node computes")
        return self

    @property
    def num_parameters(self) -> int:
        """Elements of the floating-point constants, and of those that stand for floats."""
        floats = sum(int(a.size) for a in self.constants.values() if a.dtype.kind == "f" or a.dtype.name == "bfloat16")
        pairs = {n.inputs[:2] for n in self.nodes if n.op == "dequantize" and len(n.inputs) > 1}
        kept = [pair for pair in pairs if set(pair) <= set(self.constants)]
        factors = {n.inputs[1] for n in self.nodes if n.op in ("matmul_integer", "conv_integer")}
        products = sum(int(self.constants[name].size) for name in factors if name in self.constants)
        return floats + products + sum(int(self.constants[q].size - self.constants[scale].size) for q, scale in kept)

    def readers(self) -> Counter[str]:
        """How often each value is read; being an output of the graph counts."""
        found = Counter(name for node in self.nodes for name in node.inputs)
        found.update(spec.name for spec in self.outputs)
        return found

    def constant(self, name: str, *, reader: str) -> Array:
        """The constant `name`, or `InvalidModelError` naming `reader`, the node that needed it."""
        try:
            return np.asarray(self.constants[name])
        except KeyError:
            raise InvalidModelError(f"{reader}: {name!r} must be a constant") from None
