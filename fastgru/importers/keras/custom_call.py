"""Calls of layers that the caller replaces by custom objects (see `fastgru.importers.keras.custom`)."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError, FunctionError, ShapeError, UnsupportedModelError
from fastgru.graph import DTYPES, Graph
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.custom import CustomLayer, is_function
from fastgru.modules import importing
from fastgru.reference.facts import ValueFacts
from fastgru.reference.operator import numpy_dtype
from fastgru.reference.python import PYTHON, PythonFunction

__all__ = ["apply_custom"]

# The values of free sizes in the two calls, all distinct within a call; further free sizes continue with `_FURTHER`.
_SAMPLES: Final = ((3, 7, 11, 13, 17, 19, 23, 29), (5, 8, 12, 14, 18, 20, 24, 30))
_FURTHER: Final = (31, 32)
_MOST_SAMPLE: Final = 1 << 24  # most elements of a sample input


def apply_custom(custom: CustomLayer, call: Call) -> list[Tensor]:
    """Return the outputs of a call of a layer that a custom object replaces."""
    masks = [value for value in call.masks()[1] if value is not None]
    keeps = False if call.layer.class_name == "Lambda" and call.layer.config.get("mask") is None else custom.keeps_mask
    if masks and keeps is None:
        raise call.layer.unsupported(
            "its input has a mask, and the file does not say whether its output has this mask",
            "say this with fastgru.CustomLayer(..., keeps_mask=True) or False",
        )
    plain = replace(call, inputs=[x.but(mask=None) for x in call.inputs])
    if is_function(custom.layer):
        first, *rest = _call_function(custom, plain)
    else:
        first, *rest = _inline(plain, _graph_of(custom.layer, plain))
    return [first.but(mask=call.masks()[1][0] if keeps else None), *rest]


def _call_function(custom: CustomLayer, call: Call) -> list[Tensor]:
    """Add one node that calls the function, and return its outputs."""
    function, arguments = _function(custom, call)
    named = {name: x for name, x in arguments.items() if isinstance(x, Tensor)}
    function = replace(
        function, keywords=tuple(named), arguments={k: v for k, v in arguments.items() if k not in named}
    )
    inputs = [*call.inputs, *named.values()]
    found = _declared(custom, call) if custom.shape is not None else _tried(function, inputs)
    shapes = tuple(tuple(s if isinstance(s, int) else None for s in facts.sizes or ()) for facts in found)
    attrs = {"function": replace(function, shapes=shapes, dtypes=tuple(facts.dtype for facts in found))}
    names = [f"{call.base}_{n}" if n else call.base for n in range(len(found))]
    return [Tensor(v) for v in call.graph.outside(PYTHON, [x.value for x in inputs], names, attrs, found)]


def _function(custom: CustomLayer, call: Call) -> tuple[PythonFunction, dict[str, Any]]:
    """Return the function and its arguments by name: from the call, a Lambda, the arrays and the configuration."""
    layer, function = call.layer, custom.layer
    given = {k: v for k, v in call.arguments.items() if k != "mask" and (v is not None or k != "training")}
    if given.pop("training", False) is True:
        raise layer.unsupported(
            "it is called with training=True", "inference would be random; save the model without it"
        )
    held = layer.config.get("arguments") if layer.class_name == "Lambda" else None
    if isinstance(held, Mapping):
        given |= held
    try:
        parameters: Mapping[str, Any] = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        parameters = {}
    arrays = call.weights.arrays(layer)
    if "weights" in parameters:
        given["weights"] = {name: read() for name, read in arrays.items()}
    elif arrays:
        raise layer.unsupported(
            f"the file has weights for it ({', '.join(list(arrays)[:8])})",
            "give its function a parameter `weights`, a dict of arrays by these names",
        )
    if "config" in parameters:
        given["config"] = dict(layer.config)
    return PythonFunction(str(layer), function, per_step=custom.per_step), given


def _declared(custom: CustomLayer, call: Call) -> list[ValueFacts]:
    """Return the facts of the outputs that follow from `CustomLayer.shape`."""
    shape: Any = custom.shape
    several = isinstance(shape, list | tuple) and bool(shape) and all(isinstance(s, list | tuple) for s in shape)
    shapes = shape if several else [shape]
    for one in shapes:
        if not isinstance(one, list | tuple) or not all(s is None or (type(s) is int and s > 0) for s in one):
            raise call.layer.damaged(
                f"its shape in custom_objects is {shape!r:.80}, expected sizes, None for free ones"
            )
    x = call.inputs[0].value.sizes or ()
    # A free size takes the size of the same axis of the first input, if that axis exists.
    return [
        ValueFacts("float32", tuple(x[i] if s is None and i < len(x) else s for i, s in enumerate(one)))
        for one in shapes
    ]


def _tried(function: PythonFunction, inputs: Sequence[Tensor]) -> list[ValueFacts]:
    """Return the facts of the outputs, found by calling the function twice, with different numbers for free sizes."""
    free = list(dict.fromkeys(size for x in inputs for size in _sizes(x.value) if not isinstance(size, int)))
    runs: list[tuple[Array, ...]] = []
    samples = [
        dict(zip(free, chain(first, count(more, 2)), strict=False))
        for first, more in zip(_SAMPLES, _FURTHER, strict=True)
    ]
    for chosen in samples:
        arrays = [_sample(x, [s if isinstance(s, int) else chosen[s] for s in _sizes(x.value)]) for x in inputs]
        try:
            with np.errstate(all="ignore"):
                runs.append(function(arrays))
        except (FunctionError, ShapeError) as error:
            advice = (
                ". Give the shape instead: CustomLayer(function, shape=...), with the batch, and None for free sizes"
                if _may_be_of_shapes(error.__cause__)
                else ""
            )
            raise UnsupportedModelError(
                f"{error}. fastgru called the function with random numbers to find the shape of its output{advice}"
            ) from (error.__cause__ or error)
    if len(runs[0]) != len(runs[1]) or any(a.ndim != b.ndim for a, b in zip(*runs, strict=True)):
        raise UnsupportedModelError(
            f"{function.layer}: its function returns another number of arrays, or of axes, for inputs of other sizes"
        )
    origin = {(samples[0][size], samples[1][size]): size for size in free}
    found = []
    for a, b in zip(*runs, strict=True):
        same = [n if n == m else origin.get((n, m)) for n, m in zip(a.shape, b.shape, strict=True)]
        sizes = [None if isinstance(size, tuple) else size for size in same]
        dtype = "float32" if a.dtype.kind == "f" else a.dtype.name
        assert dtype in DTYPES
        found.append(ValueFacts(dtype, tuple(sizes)))
    return found


def _may_be_of_shapes(error: BaseException | None) -> bool:
    """Return whether a function may have raised this error because of the sizes of the arrays it was tried on."""
    of_code = (TypeError, NameError, KeyError, AttributeError, ImportError, NotImplementedError)
    return error is not None and not isinstance(error, of_code) and "read-only" not in str(error)


def _sizes(value: Value) -> list[Any]:
    """Return the sizes of a value; an unknown size is represented by (value, axis)."""
    return [(value, axis) if size is None else size for axis, size in enumerate(value.sizes or ())]


def _sample(x: Tensor, shape: Sequence[int]) -> Array:
    if int(np.prod(shape, dtype=np.float64)) > _MOST_SAMPLE:
        raise UnsupportedModelError(
            f"its input of shape {tuple(shape)} is too large to find the shape of the output by calling the function:"
            " give the shape, fastgru.CustomLayer(function, shape=...)"
        )
    dtype = numpy_dtype(x.dtype)
    if dtype.kind == "f":
        return np.random.default_rng(0).random(shape).astype(dtype)
    return np.zeros(shape, dtype)


def _graph_of(layer: Any, call: Call) -> Graph:
    """Return the graph of a description, a layer or a model for the inputs of this call."""
    call.check_arguments("mask")
    if isinstance(layer, Graph):
        return layer
    if isinstance(layer, Mapping):
        with importing:
            from fastgru.importers.architecture import build_architecture

        arrays = {name: read() for name, read in call.weights.arrays(call.layer).items()}
        try:
            return build_architecture(_with_inputs(layer, call), arrays)
        except FastGRUError as error:
            raise type(error)(f"{call.layer}: its description in custom_objects: {error}") from None
    if held := call.weights.arrays(call.layer):
        raise call.layer.unsupported(
            f"the file has weights for it ({', '.join(list(held)[:8])}), and its replacement has weights of its own",
            "describe its layers with these weights, or load with allow_unread=True and another name",
        )
    if hasattr(layer, "default_rank"):
        return layer.to_graph(rank=call.x.rank)  # type: ignore[no-any-return]
    return layer.graph if hasattr(layer, "graph") else layer.to_graph()  # type: ignore[no-any-return]


def _with_inputs(description: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
    """Return the description with the inputs of the call; it keeps its own names of inputs and of free sizes."""
    written = description.get("inputs")
    default = ["x"] if len(call.inputs) == 1 else [f"x{n}" for n in range(len(call.inputs))]
    names = default if written is None else list(written)
    if len(names) != len(call.inputs):
        raise call.layer.unsupported(
            f"its description in custom_objects has {len(names)} inputs", f"the layer has {len(call.inputs)}"
        )
    inputs = {}
    for name, x in zip(names, call.inputs, strict=True):
        form = written[name] if isinstance(written, Mapping) else None
        form = form.get("shape") if isinstance(form, Mapping) else form
        said = list(form) if isinstance(form, list | tuple) and len(form) == x.rank else [None] * x.rank
        sizes = [
            size if size is not None else free if isinstance(free, str) else dim
            for size, free, dim in zip(x.shape, said, x.value.dims, strict=True)
        ]
        if form is not None and any(isinstance(s, int) and s != size for s, size in zip(form, sizes, strict=False)):
            raise call.layer.unsupported(
                f"its input {name!r} is {x.shape}", f"its description in custom_objects says {form}"
            )
        inputs[name] = {"shape": sizes, "dtype": x.dtype}
    return {**description, "inputs": inputs}


def _inline(call: Call, graph: Graph) -> list[Tensor]:
    """Add the nodes of a graph to the model, and return the outputs."""
    layer = call.layer
    if graph.states:
        raise layer.unsupported(
            f"its replacement has states of its own ({', '.join(graph.states)})", "use a replacement without states"
        )
    if graph.precisions or any(node.bodies for node in graph.nodes):
        raise layer.unsupported("its replacement has loops, or weights of low precision", "use plain layers")
    if len(graph.inputs) != len(call.inputs):
        raise layer.unsupported(
            f"its replacement has the inputs {', '.join(spec.name for spec in graph.inputs)}",
            f"the layer has {len(call.inputs)}",
        )
    values: dict[str, Value | None] = {"": None}
    for spec, x in zip(graph.inputs, call.inputs, strict=True):
        if spec.dims[:1] == ("T",):
            raise layer.unsupported("its replacement has time as its first axis", "make it with batch_first=True")
        if spec.shape is not None and (
            len(spec.shape) != x.rank or any(s not in (None, n) for s, n in zip(spec.shape, x.shape, strict=True))
        ):
            raise layer.unsupported(
                f"its replacement takes {spec.name!r} of shape {spec.shape}", f"its input is {x.shape}"
            )
        values[spec.name] = x.value
    for name, array in graph.constants.items():
        values[name] = call.graph.constant(array, f"{call.home}/{name}")
    ends = {spec.name: n for n, spec in enumerate(graph.outputs)}
    for node in graph.nodes:
        names = [
            (f"{call.base}_{ends[o]}" if ends[o] else call.base) if o in ends else f"{call.base}/{o}"
            for o in node.outputs
        ]
        made = call.graph.add_many(node.op, [values[n] for n in node.inputs], names, node.attrs)
        values |= dict(zip(node.outputs, made, strict=True))
    results = [values[spec.name] for spec in graph.outputs]
    return [Tensor(value) for value in results if value is not None]
