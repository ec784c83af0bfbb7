"""Normalisation by stored statistics (batch, preprocessing) or by statistics of the input (layer, group, RMS, unit)."""

from collections.abc import Mapping

import numpy as np

from fastgru.arrays import Array
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.registry import keras_layer

__all__ = ["unit_length"]


def _stored(call: Call, *more: str) -> dict[str, Array]:
    """Return the arrays by role: gamma and beta if the layer has them, then `more`."""
    switches = (("gamma", "scale"), ("beta", "center"))
    roles = [*(role for role, key in switches if call.layer.flag(key, default=True)), *more]
    return dict(zip(roles, call.weights.take(call.layer, *roles), strict=True))


def _constants(call: Call, arrays: Mapping[str, Array], size: int) -> list[Value]:
    """Return the constants gamma and beta, with ones and zeros for missing arrays."""
    plain = {"gamma": np.ones(size, np.float32), "beta": np.zeros(size, np.float32)}
    return [call.graph.constant(arrays.get(role, one), f"{call.home}/{role}") for role, one in plain.items()]


@keras_layer("BatchNormalization")
def _batch_normalization(call: Call) -> list[Tensor]:
    layer, x = call.layer, call.x
    axes = layer.integers("axis", default=-1)
    if len(axes) != 1:
        raise layer.unsupported(f"axis is {list(axes)}", "normalise one axis")
    if layer.get("mode", default=0) not in (0, 2):
        raise layer.unsupported(f"mode is {layer.get('mode')!r}", "mode 1 normalises by the batch; train with mode 0")
    if layer.flag("renorm", default=False):
        raise layer.unsupported("renorm", "train without batch renormalisation")
    arrays = _stored(call, "moving_mean", "moving_variance")
    axis = call.axis(x, axes[0])
    size = arrays["moving_mean"].shape
    if len(size) != 1 or any(a.shape != size for a in arrays.values()) or x.shape[axis] not in (None, size[0]):
        raise layer.damaged(
            f"its arrays have the shapes {[a.shape for a in arrays.values()]} for an input of shape {x.shape}"
        )
    names = _constants(call, arrays, size[0])
    names += [call.graph.constant(arrays[f"moving_{what}"], f"{call.home}/{what}") for what in ("mean", "variance")]
    attrs = {"axis": axis, "epsilon": layer.number("epsilon", default=1e-3)}
    return [x.but(value=call.graph.add("batch_norm", [x.value, *names], call.base, attrs))]


@keras_layer("LayerNormalization")
def _layer_normalization(call: Call) -> list[Tensor]:
    layer, x = call.layer, call.x
    axes = sorted(call.axis(x, a) for a in layer.integers("axis", default=-1))
    if axes != list(range(axes[0] if axes else 0, x.rank)) or not axes or axes[0] == 0:
        raise layer.unsupported(f"axis is {axes}", "normalise the last axes")
    if layer.flag("rms_scaling", default=False):
        raise layer.unsupported("rms_scaling", "use LayerNormalization without it")
    arrays = _stored(call)
    for role, array in arrays.items():
        if array.ndim != len(axes) or any(x.shape[a] not in (None, s) for a, s in zip(axes, array.shape, strict=True)):
            raise layer.damaged(f"{role} has shape {array.shape} for an input of shape {x.shape}")
    names = [call.graph.constant(arrays[r], f"{call.home}/{r}") if r in arrays else None for r in ("gamma", "beta")]
    attrs = {"axis": axes[0], "epsilon": layer.number("epsilon", default=1e-3)}
    return [x.but(value=call.graph.add("layer_norm", [x.value, *names], call.base, attrs))]


@keras_layer("Normalization")
def _normalization(call: Call) -> list[Tensor]:
    """Apply the preprocessing layer: (x - mean) / max(sqrt(variance), 1e-7), or with `invert` its inverse."""
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
    y = graph.add("binary", [x.value, first[1]], f"{call.base}/{first[0]}", {"kind": first[0]})
    return [x.but(value=graph.add("binary", [y, second[1]], call.base, {"kind": second[0]}))]


@keras_layer("GroupNormalization")
def _group_normalization(call: Call) -> list[Tensor]:
    """Normalise over groups of neighbours along `axis` and over all other axes except the batch."""
    layer, graph, x = call.layer, call.graph, call.x
    axis = call.axis(x, layer.integer("axis", default=-1))
    channels, groups = call.known(x, axis), layer.integer("groups", default=32)
    groups = channels if groups == -1 else groups
    if axis == 0 or groups < 1 or channels % groups:
        raise layer.damaged(f"{groups} groups along axis {axis} of an input of shape {x.shape}")
    arrays = _stored(call)
    for role, array in arrays.items():
        if array.shape != (channels,):
            raise layer.damaged(f"{role} has shape {array.shape}, expected {(channels,)}")
    names = _constants(call, arrays, channels)
    first = [0, axis, *(a for a in range(1, x.rank) if a != axis)]
    attrs = {"groups": groups, "epsilon": layer.number("epsilon", default=1e-3)}
    if axis == 1:
        return [x.but(value=graph.add("group_norm", [x.value, *names], call.base, attrs))]
    transposed = graph.add("transpose", [x.value], f"{call.base}/channels_first", {"perm": first})
    y = graph.add("group_norm", [transposed, *names], f"{call.base}/normalised", attrs)
    back = [first.index(a) for a in range(x.rank)]
    return [x.but(value=graph.add("transpose", [y], call.base, {"perm": back}))]


@keras_layer("RMSNormalization")
def _rms_normalization(call: Call) -> list[Tensor]:
    layer, x = call.layer, call.x
    axes = [call.axis(x, a) for a in layer.integers("axis", default=-1)]
    if axes != [x.rank - 1]:
        raise layer.unsupported(f"axis is {axes}", "normalise the last axis")
    (scale,) = call.weights.take(layer, "scale")
    if scale.ndim != 1 or x.shape[-1] not in (None, scale.shape[0]):
        raise layer.damaged(f"scale has shape {scale.shape} for an input of shape {x.shape}")
    attrs = {"axis": axes[0], "epsilon": layer.number("epsilon", default=1e-6)}
    inputs = [x.value, call.graph.constant(scale, f"{call.home}/scale")]
    return [Tensor(call.graph.add("rms_norm", inputs, call.base, attrs))]


@keras_layer("UnitNormalization")
def _unit_normalization(call: Call) -> list[Tensor]:
    axes = sorted(call.axis(call.x, a) for a in call.layer.integers("axis", default=-1))
    least = 1e-24 if call.rules.major == 3 else 1e-12
    return [call.x.but(value=unit_length(call, call.x, axes, call.base, least))]


def unit_length(call: Call, x: Tensor, axes: list[int], base: str, least: float) -> Value:
    """Return x divided by its length along `axes`; the squared length is taken as at least `least`."""
    graph = call.graph
    square = graph.add("binary", [x.value, x.value], f"{base}/square", {"kind": "mul"})
    total = graph.add("reduce", [square], f"{base}/total", {"kind": "sum", "axes": axes, "keepdims": True})
    floor = graph.scalar(least, x, f"{base}/least")
    safe = graph.add("binary", [total, floor], f"{base}/safe", {"kind": "max"})
    length = graph.add("unary", [safe], f"{base}/length", {"kind": "sqrt"})
    return graph.add("binary", [x.value, length], base, {"kind": "div"})
