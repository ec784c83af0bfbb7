"""Nodes that call a function of the caller: it runs in Python, on NumPy arrays, between the native parts of a model.

attrs of a node "python":
    function    a `PythonFunction`; it is the only attribute of any node that is no plain data, so no file can hold it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FunctionError, InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import DTYPES, Graph, Node
from fastgru.records import dataclass
from fastgru.reference.operand import ValueFacts

__all__ = [
    "PYTHON",
    "PythonFunction",
    "check_python",
    "describe_functions",
    "evaluate_python",
    "facts_of_steps",
    "refuse_file",
    "refuse_steps",
    "unknown_axes",
    "with_named_functions",
]

PYTHON: Final = "python"

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class PythonFunction:
    """A function and its arguments.

    layer: the name of its layer in messages. keywords: the names under which it takes its last inputs. arguments: other
    arguments, by name. shapes: those of its outputs, with None for a free size; None if unknown. dtypes: of outputs.
    per_step: whether each step of an output depends only on the same step of the inputs.
    """

    layer: str
    function: Callable[..., Any]
    keywords: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    shapes: tuple[Shape, ...] | None = None
    dtypes: tuple[str | None, ...] = ()
    per_step: bool = False

    def __str__(self) -> str:
        module, name = (getattr(self.function, key, "") for key in ("__module__", "__qualname__"))
        module = "" if module == "<run_path>" else module  # of a file that custom_objects= names
        return ".".join(part for part in (module, name) if part) or type(self.function).__qualname__

    def __call__(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Return the outputs. The function gets read-only views of the inputs.

        Raises `FunctionError`, with the exception of the function as its cause, and `ShapeError` for outputs that are
        no arrays or have other shapes than `shapes`.
        """
        given = [_read_only(a) for a in inputs]
        plain = len(given) - len(self.keywords)
        try:
            results = self.function(
                *given[:plain], **dict(zip(self.keywords, given[plain:], strict=True)), **self.arguments
            )
        except Exception as error:  # the caller's code may raise anything
            raise FunctionError(
                f"{self.layer}: its function {self}: {type(error).__name__}: {str(error)[:300]}"
                f" (inputs: {', '.join(f'{a.dtype} {a.shape}' for a in given)})"
            ) from error
        return self._checked(results if isinstance(results, tuple) else (results,))

    def _checked(self, results: Sequence[Any]) -> tuple[Array, ...]:
        arrays = []
        for n, result in enumerate(results):
            try:
                array = np.asarray(result)
            except ValueError:  # a ragged list
                array = np.asarray(None)
            if array.dtype.name not in DTYPES:
                raise ShapeError(
                    f"{self.layer}: its function {self}: output {n} is of the type {type(result).__name__}"
                    f"{f' of {array.dtype}' if isinstance(result, np.ndarray) else ''}, expected an array of numbers"
                )
            arrays.append(array)
        if self.shapes is not None:
            if len(arrays) != len(self.shapes):
                raise ShapeError(
                    f"{self.layer}: its function {self}: got {len(arrays)} outputs, expected {len(self.shapes)}"
                )
            for n, (array, shape) in enumerate(zip(arrays, self.shapes, strict=True)):
                if array.ndim != len(shape) or any(
                    s not in (None, size) for s, size in zip(shape, array.shape, strict=True)
                ):
                    raise ShapeError(
                        f"{self.layer}: its function {self}: output {n} has shape {array.shape}, expected"
                        f" {tuple('?' if s is None else s for s in shape)}"
                    )
        return tuple(arrays)


def _read_only(array: Any) -> Array:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _function(node: Node) -> PythonFunction:
    function = node.attrs.get("function")
    if not isinstance(function, PythonFunction) or len(node.attrs) != 1:
        raise InvalidModelError(f"{node}: its attributes are {sorted(node.attrs)}, expected a function")
    return function


def facts_of_steps(attrs: Mapping[str, Any], inputs: Sequence[ValueFacts | None]) -> tuple[ValueFacts, ...] | None:
    """Return what is known of the outputs of a function that is declared `per_step`; None for other functions.

    Free sizes of the first two axes, the batch and the steps, are those of its first input.
    """
    function = attrs.get("function")
    if not isinstance(function, PythonFunction) or not function.per_step or function.shapes is None:
        return None
    x = (inputs[0].sizes if inputs and inputs[0] is not None else None) or ()
    return tuple(
        ValueFacts(dtype, tuple(x[i] if s is None and i < min(len(x), 2) else s for i, s in enumerate(shape)))
        for dtype, shape in zip(function.dtypes, function.shapes, strict=True)
    )


def check_python(node: Node) -> None:
    """Raise `InvalidModelError` unless the node has a function, and as many outputs as this returns."""
    shapes = _function(node).shapes
    if shapes is not None and len(shapes) != len(node.outputs):
        raise InvalidModelError(f"{node}: {len(node.outputs)} outputs, but its function returns {len(shapes)}")


def evaluate_python(node: Node, inputs: Sequence[Any]) -> tuple[Array, ...]:
    """Return the outputs. Raises as a call of its `PythonFunction`."""
    return _function(node)(inputs)


def describe_functions(graph: Graph) -> tuple[str, ...]:
    """Return the layers of a graph that run in Python, each with its function."""
    found = [_function(node) for node in graph.nodes if node.op == PYTHON]
    return tuple(f"{function.layer}: {function}" for function in found)


def with_named_functions(graph: Graph) -> Graph:
    """Return the graph with each function replaced by its name. Such a graph is plain data and cannot run."""
    if not any(node.op == PYTHON for node in graph.nodes):
        return graph
    nodes = [replace(n, attrs={"function": str(_function(n))}) if n.op == PYTHON else n for n in graph.nodes]
    return replace(graph, nodes=tuple(nodes))


def unknown_axes(graph: Graph, *, steps: bool = False) -> str:
    """Return the end of messages about axes that cannot be followed: the functions that hide them, "" for none.

    steps: True for messages about the axis of steps, along which functions that are declared `per_step` are known.
    """
    found = [
        f"{function.layer}: {function}"
        for function in (_function(node) for node in graph.nodes if node.op == PYTHON)
        if not (steps and function.per_step)
    ]
    if not found:
        return ""
    declare = (
        ", or pass fastgru.CustomLayer(function, per_step=True) if each step of its output depends only on that step"
        " of its input"
    )
    return (
        f"; {', '.join(found[:8])} runs in Python, and what it does along an axis is not known: in custom_objects=,"
        f" give a description of layers, a layer or a model in its place{declare if steps else ''}"
    )


def refuse_file(graph: Graph) -> None:
    """Raise `UnsupportedModelError` if the graph calls a function, because no file can hold one."""
    if found := describe_functions(graph):
        raise UnsupportedModelError(
            f"{', '.join(found[:8])} runs in Python, and a file of a model cannot hold a function: load the model with"
            " custom_objects= where it runs, or save the parts before and behind this layer, which inputs= and outputs="
            " of fastgru.load cut out"
        )


def refuse_steps(graph: Graph) -> None:
    """Raise `UnsupportedModelError` if the graph calls a function that is not declared `per_step`."""
    found = [_function(node) for node in graph.nodes if node.op == PYTHON]
    if whole := [str(function.layer) for function in found if not function.per_step]:
        raise UnsupportedModelError(
            f"{', '.join(whole[:8])} runs in Python, and may look across steps, but a stream would pass one step at a"
            " time. If each step of its output depends only on the same step of its input, pass"
            " custom_objects={...: fastgru.CustomLayer(function, per_step=True)}"
        )
