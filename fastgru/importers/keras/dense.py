"""Layers with a matrix, and the ones that make or drop masks: Dense, Embedding, Masking, normalisations, pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.importers.keras.activations import activate
from fastgru.importers.keras.call import Call
from fastgru.importers.keras.values import Value

__all__ = ["DENSE_LAYERS"]

Array = NDArray[Any]


def _dense(call: Call) -> list[Value]:
    layer, x = call.layer, call.x
    roles = ("kernel", "bias") if layer.flag("use_bias", "bias", default=True) else ("kernel",)
    kernel, *bias = call.weights.take(layer, *roles)
    if kernel.ndim != 2 or any(b.shape != kernel.shape[1:] for b in bias):
        raise layer.damaged(f"kernel and bias have shapes {[a.shape for a in (kernel, *bias)]}, expected (I, O), (O,)")
    if x.rank < 2 or (x.shape[-1] is not None and x.shape[-1] != kernel.shape[0]):
        raise layer.damaged(f"kernel has shape {kernel.shape} for an input of shape {x.shape}")
    graph = call.graph
    # Keras multiplies x @ kernel, `linear` by the transposed matrix.
    inputs = [x.name, graph.constant(np.ascontiguousarray(kernel.T), f"{call.home}/kernel")]
    inputs += [graph.constant(b, f"{call.home}/bias") for b in bias]
    y = x.but(name=graph.add("linear", inputs, call.base), shape=(*x.shape[:-1], kernel.shape[1]))
    return [activate(call, y)]


def _embedding(call: Call) -> list[Value]:
    layer, graph, x = call.layer, call.graph, call.x
    (matrix,) = call.weights.take(layer, "embeddings")
    if matrix.ndim != 2:
        raise layer.damaged(f"embeddings have shape {matrix.shape}, expected (V, D)")
    mask = None
    if layer.flag("mask_zero", default=False):
        call.check_masks()
        zero = graph.constant(np.zeros((), dtype=x.dtype), f"{call.base}/zero")
        mask = graph.add("compare", [x.name, zero], f"{call.base}/mask", {"kind": "not_equal"})
    ids = x.name
    if x.dtype.startswith("float"):  # Keras casts, and inputs are floats unless the model says otherwise
        ids = graph.add("cast", [ids], f"{call.base}/ids", {"to": "int32"})
    y = graph.add("embedding", [ids, graph.constant(matrix, f"{call.home}/embeddings")], call.base)
    return [Value(y, (*x.shape, matrix.shape[1]), "float32", mask)]


def _masking(call: Call) -> list[Value]:
    call.check_masks()
    graph, x = call.graph, call.x
    value = graph.scalar(call.layer.number("mask_value", default=0.0), x, f"{call.base}/mask_value")
    differs = graph.add("compare", [x.name, value], f"{call.base}/differs", {"kind": "not_equal"})
    axis = x.rank - 1
    shown = graph.add("reduce", [differs], f"{call.base}/shown", {"kind": "any", "axes": [axis], "keepdims": True})
    mask = graph.add("squeeze", [shown], f"{call.base}/mask", {"axes": [axis]})
    zero = graph.scalar(0.0, x, f"{call.base}/zero")
    return [x.but(name=graph.add("where", [shown, x.name, zero], call.base), mask=mask)]


def _batch_normalization(call: Call) -> list[Value]:
    layer, x = call.layer, call.x
    axes = layer.integers("axis", default=-1)
    if len(axes) != 1:
        raise layer.unsupported(f"axis is {list(axes)}", "normalise one axis")
    if layer.get("mode", default=0) not in (0, 2):
        raise layer.unsupported(f"mode is {layer.get('mode')!r}", "mode 1 normalises by the batch; train with mode 0")
    if layer.flag("renorm", default=False):
        raise layer.unsupported("renorm", "train without batch renormalisation")
    scaled, centred = layer.flag("scale", default=True), layer.flag("center", default=True)
    roles = [*(["gamma"] if scaled else []), *(["beta"] if centred else []), "moving_mean", "moving_variance"]
    arrays = dict(zip(roles, call.weights.take(layer, *roles), strict=True))
    axis = call.axis(x, axes[0])
    size = arrays["moving_mean"].shape
    if len(size) != 1 or any(a.shape != size for a in arrays.values()) or x.shape[axis] not in (None, size[0]):
        raise layer.damaged(f"arrays of shapes {[a.shape for a in arrays.values()]} for an input of shape {x.shape}")
    ones, zeros = np.ones(size, np.float32), np.zeros(size, np.float32)
    given = [arrays.get("gamma", ones), arrays.get("beta", zeros), arrays["moving_mean"], arrays["moving_variance"]]
    names = [
        call.graph.constant(a, f"{call.home}/{r}")
        for a, r in zip(given, ("gamma", "beta", "mean", "variance"), strict=True)
    ]
    attrs = {"axis": axis, "epsilon": layer.number("epsilon", default=1e-3)}
    return [x.but(name=call.graph.add("batch_norm", [x.name, *names], call.base, attrs))]


def _layer_normalization(call: Call) -> list[Value]:
    layer, x = call.layer, call.x
    axes = sorted(call.axis(x, a) for a in layer.integers("axis", default=-1))
    if axes != list(range(axes[0] if axes else 0, x.rank)) or not axes or axes[0] == 0:
        raise layer.unsupported(f"axis is {axes}", "normalise the last axes")
    if layer.flag("rms_scaling", default=False):
        raise layer.unsupported("rms_scaling", "use LayerNormalization without it")
    roles = [r for r, key in (("gamma", "scale"), ("beta", "center")) if layer.flag(key, default=True)]
    arrays = dict(zip(roles, call.weights.take(layer, *roles), strict=True))
    for role, array in arrays.items():
        if array.ndim != len(axes) or any(x.shape[a] not in (None, s) for a, s in zip(axes, array.shape, strict=True)):
            raise layer.damaged(f"{role} has shape {array.shape} for an input of shape {x.shape}")
    names = [call.graph.constant(arrays[r], f"{call.home}/{r}") if r in arrays else "" for r in ("gamma", "beta")]
    attrs = {"axis": axes[0], "epsilon": layer.number("epsilon", default=1e-3)}
    return [x.but(name=call.graph.add("layer_norm", [x.name, *names], call.base, attrs))]


def _normalization(call: Call) -> list[Value]:
    """The preprocessing layer: (x - mean) / max(sqrt(variance), 1e-7), the other way round with `invert`."""
    layer, graph, x = call.layer, call.graph, call.x
    if layer.get("mean", default=None) is not None:
        raise layer.unsupported("mean and variance given by hand", "use adapt() on the data")
    axes = () if layer.get("axis", default=-1) is None else layer.integers("axis", default=-1)
    kept = sorted(call.axis(x, a) for a in axes)
    mean, variance, _ = call.weights.take(layer, "mean", "variance", "count")
    shape = [call.known(x, i) if i in kept else 1 for i in range(x.rank)]
    if mean.size != int(np.prod(shape)) or variance.size != mean.size:
        raise layer.damaged(f"mean and variance have shapes {mean.shape}, {variance.shape}, the input {x.shape}")
    shift = graph.constant(mean.reshape(shape), f"{call.home}/mean")
    with np.errstate(invalid="ignore"):
        deviation = np.maximum(np.sqrt(variance), 1e-7)
    scale = graph.constant(deviation.astype(mean.dtype).reshape(shape), f"{call.base}/deviation")
    first, second = (
        (("mul", scale), ("add", shift)) if layer.flag("invert", default=False) else (("sub", shift), ("div", scale))
    )
    y = graph.add("binary", [x.name, first[1]], f"{call.base}/{first[0]}", {"kind": first[0]})
    return [x.but(name=graph.add("binary", [y, second[1]], call.base, {"kind": second[0]}))]


def _identity(call: Call) -> list[Value]:
    return [call.x]


DENSE_LAYERS: Final[Mapping[str, Callable[[Call], list[Value]]]] = {
    "BatchNormalization": _batch_normalization,
    "Dense": _dense,
    "Embedding": _embedding,
    "LayerNormalization": _layer_normalization,
    "Masking": _masking,
    "Normalization": _normalization,
    "TimeDistributedDense": _dense,
    # These do something in training only.
    **dict.fromkeys(
        ("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity",
         "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
        _identity,
    ),
}  # fmt: skip
