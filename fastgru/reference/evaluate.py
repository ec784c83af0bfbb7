"""Compute one node, or a whole graph, by the definitions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fastgru.errors import FastGRUError, InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import Array, Graph, Node, TensorSpec, shape_text
from fastgru.reference.facts import bound
from fastgru.reference.foreign import OUTSIDE, check_foreign, evaluate_foreign
from fastgru.reference.operator import OPS, as_array, is_floating, numpy_dtype

__all__ = ["bind_inputs", "check_node", "evaluate", "in_precision", "run_graph", "run_nodes", "with_plain_weights"]


Compute: TypeAlias = Callable[[Node, Sequence[Array | None]], tuple[Array, ...]]


def check_node(node: Node) -> None:
    """Check that a node has a known operator, and the inputs and attributes of its definition.

    Raises `UnsupportedModelError` for an unknown operator, input or attribute, and `InvalidModelError` for a missing or
    invalid one.
    """
    if node.op in OUTSIDE:
        check_foreign(node)
        return
    if node.op not in OPS:
        raise UnsupportedModelError(
            f"{node}: operator {node.op!r} is unknown; expected one of {', '.join(sorted(OPS))}"
        )
    try:
        OPS[node.op].schema.check([bool(name) for name in node.inputs], node.attrs, len(node.outputs))
    except FastGRUError as error:
        raise type(error)(f"{node}: {error}") from None


def evaluate(node: Node, inputs: Sequence[Array | None], *, max_elements: int | None = None) -> tuple[Array, ...]:
    """Return the outputs of `node` for `inputs`, None for an absent one.

    max_elements: refuse a node whose largest output has more elements, before any memory is taken. This is for the
    constants of a file that may be hostile.

    Raises `ShapeError`, which names the node and its inputs, if NumPy refuses the inputs, `UnsupportedModelError` for
    an operator, kind or attribute that is not defined, and `InvalidModelError` for a missing one.
    """
    if node.op in OUTSIDE:
        return evaluate_foreign(node, inputs)
    if node.op not in OPS:
        raise UnsupportedModelError(
            f"{node}: operator {node.op!r} is unknown; expected one of {', '.join(sorted(OPS))}"
        )
    arrays = [None if a is None else np.asarray(a) for a in inputs]
    try:
        OPS[node.op].schema.check([a is not None for a in arrays], node.attrs)
        if max_elements is not None and (count := bound(node, arrays)) > max_elements:
            raise ShapeError(f"the output would have {count} elements, expected at most {max_elements}")
        with np.errstate(all="ignore"):
            results = OPS[node.op].compute(arrays, node.attrs)
        if len(results) < len(node.outputs):
            raise InvalidModelError(f"the node names {len(node.outputs)} outputs, but its operator has {len(results)}")
        return results
    except FastGRUError as error:
        raise type(error)(f"{node}: {error} ({_came(node, arrays)})") from None
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise ShapeError(f"{node}: {error} ({_came(node, arrays)})") from error


def _came(node: Node, arrays: Sequence[Array | None]) -> str:
    names = [*node.inputs, *("?" for _ in range(len(arrays) - len(node.inputs)))]
    return "inputs: " + ", ".join(
        f"{name or '-'} {'absent' if a is None else f'{a.dtype} {a.shape}'}"
        for name, a in zip(names, arrays, strict=False)
    )


def run_graph(
    graph: Graph,
    inputs: Mapping[str, ArrayLike],
    *,
    dtype: str = "float64",
    intermediates: bool = False,
    compute: Compute = evaluate,
) -> dict[str, Array]:
    """Return the outputs of `graph` by name, in the order of `graph.outputs`, or with `intermediates` every value.

    The whole graph is computed in one precision: floating-point inputs and constants, and floating-point results of
    cast and constant_of_shape, are converted to `dtype`. Integers and bools stay as they are.

    compute: a function that computes the outputs of a node from its inputs. Raises `ShapeError` if an input does not
    fit its `TensorSpec`, and what `evaluate` raises.
    """
    kind = numpy_dtype(dtype)
    if not is_floating(kind):
        raise ShapeError(f"dtype is {dtype!r}, expected a floating-point dtype")
    values: dict[str, Array] = {name: _floats_as(np.asarray(a), kind) for name, a in graph.constants.items()}
    values.update((name, _floats_as(a, kind)) for name, a in bind_inputs(graph.inputs, inputs).items())
    run_nodes([in_precision(node, dtype) for node in graph.nodes], values, kind, compute)
    if missing := [spec.name for spec in graph.outputs if spec.name not in values]:
        raise InvalidModelError(f"graph {graph.name!r}: no node defines output {', '.join(missing)}")
    return values if intermediates else {spec.name: values[spec.name] for spec in graph.outputs}


def run_nodes(
    nodes: Iterable[Node], values: dict[str, Array], kind: np.dtype[Any] | None = None, compute: Compute = evaluate
) -> None:
    """Run the nodes and add their outputs to `values`. kind: the dtype for floating outputs of foreign nodes."""
    for node in nodes:
        try:
            arrays = [values[name] if name else None for name in node.inputs]
        except KeyError as error:
            raise InvalidModelError(f"{node}: no node before it defines input {error}") from None
        outputs = compute(node, arrays)
        if node.op in OUTSIDE and kind is not None:  # a foreign node computes in the dtype of its file
            outputs = tuple(_floats_as(a, kind) if isinstance(a, np.ndarray) else a for a in outputs)
        values.update((name, a) for name, a in zip(node.outputs, outputs, strict=False) if name)


def _floats_as(array: Array, dtype: np.dtype[Any]) -> Array:
    return array.astype(dtype) if is_floating(array.dtype) else array


def in_precision(node: Node, dtype: str) -> Node:
    """Return the node with `dtype` for any floating dtype that it names. The nodes inside it are changed as well."""
    if node.bodies:
        inner = {
            key: replace(body, nodes=tuple(in_precision(n, dtype) for n in body.nodes))
            for key, body in node.bodies.items()
        }
        return replace(node, attrs={**node.attrs, **inner})
    key = {"cast": "to", "constant_of_shape": "dtype"}.get(node.op)
    if key is None or key not in node.attrs or not is_floating(numpy_dtype(node.attrs[key])):
        return node
    return replace(node, attrs={**node.attrs, key: dtype})


def with_plain_weights(graph: Graph) -> Graph:
    """Return the graph without `precisions`: bfloat16 and quantised constants become float32 constants."""
    if not graph.precisions:
        return graph
    constants = {name: a.astype(np.float32) if a.dtype.name == "bfloat16" else a for name, a in graph.constants.items()}
    nodes = []
    kept: set[str] = set()
    for node in graph.nodes:
        if node.op == "dequantize" and all(name in constants for name in node.inputs if name):
            (constants[node.outputs[0]],) = evaluate(node, [constants[n] if n else None for n in node.inputs])
            kept.update(node.inputs)
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.inputs} | {spec.name for spec in graph.outputs}
    constants = {name: a for name, a in constants.items() if name in read or name not in kept}
    return replace(graph, nodes=tuple(nodes), constants=constants, precisions={})


def bind_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Return `inputs` as arrays, each checked against its spec. Named dimensions must agree between inputs.

    A floating-point input takes any float, an integer input any integers that fit its dtype, a bool input only bools.
    Raises `ShapeError` that lists missing and unknown names, or tells the name, the array and the expected form.
    """
    wanted = [spec.name for spec in specs]
    if not isinstance(inputs, Mapping):
        raise ShapeError(
            f"inputs: got {type(inputs).__name__}, expected arrays by name: {', '.join(wanted)},"
            f" such as {{{(wanted or ['x'])[0]!r}: array}}"
        )
    missing = [name for name in wanted if name not in inputs]
    unknown = sorted(str(name) for name in set(inputs) - set(wanted))
    if missing or unknown:
        faults = [f"{word} {', '.join(names)}" for word, names in (("missing", missing), ("unknown", unknown)) if names]
        raise ShapeError(f"inputs: {'; '.join(faults)}; expected {', '.join(wanted) or 'none'}")
    sizes: dict[str, tuple[int, str]] = {}
    bound = {}
    for spec in specs:
        array = _convert(spec, inputs[spec.name])
        expected = spec.shape
        if expected is not None:
            if array.ndim != len(expected) or any(
                e is not None and e != s for e, s in zip(expected, array.shape, strict=True)
            ):
                raise ShapeError(
                    f"input {spec.name!r}: got shape {array.shape}, expected {shape_text(expected, spec.dims)}"
                )
            for dim, size in zip(spec.dims, array.shape, strict=False):
                if dim is None:
                    continue
                seen, where = sizes.setdefault(dim, (size, spec.name))
                if seen != size:
                    raise ShapeError(
                        f"input {spec.name!r}: got shape {array.shape}, expected {shape_text(expected, spec.dims)}"
                        f" with {dim} = {seen} as in {where!r}"
                    )
        bound[spec.name] = array
    return bound


def _convert(spec: TensorSpec, value: ArrayLike) -> Array:
    array, dtype = as_array(f"input {spec.name!r}", value), numpy_dtype(spec.dtype)
    if array.size == 0 and not isinstance(value, np.ndarray):
        array = array.astype(dtype)  # an empty list has no dtype of its own
    if is_floating(dtype):
        fits = is_floating(array.dtype)
    elif dtype == np.bool_:
        fits = array.dtype == np.bool_
    else:
        info = np.iinfo(dtype)
        fits = array.dtype.kind in "iu" and (
            array.size == 0 or (int(array.min()) >= info.min and int(array.max()) <= info.max)
        )
    if not fits:
        raise ShapeError(f"input {spec.name!r}: got dtype {array.dtype}, expected {spec.dtype}{_hint(spec, array)}")
    return array if is_floating(dtype) else array.astype(dtype, copy=False)


def _hint(spec: TensorSpec, array: Array) -> str:
    """Return the end of a message about an array of another dtype: what to do with it."""
    if array.dtype.kind in "iu" and not is_floating(spec.dtype) and spec.dtype != "bool":
        return f", which does not hold its values, from {array.min()} to {array.max()}"
    plain = array.dtype.kind in "biuf" and spec.dtype != "bfloat16"
    return f": give it as np.asarray(x, np.{spec.dtype.replace('bool', 'bool_')})" if plain else ""
