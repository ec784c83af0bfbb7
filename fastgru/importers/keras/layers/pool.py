"""Pools over windows on one or two axes, and over all steps or pixels.

Average pools with padding 'same' do not count the padding, as in TensorFlow and JAX.
"""

from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.registry import keras_layer
from fastgru.importers.keras.windows import LayerWindows, SpatialInput, numbers


@keras_layer("AveragePooling1D", "AveragePooling2D", "MaxPooling1D", "MaxPooling2D")
def _pool(call: Call) -> list[Tensor]:
    kind = "max" if call.layer.class_name.startswith("Max") else "average"
    layer, grid = call.layer, SpatialInput.of(call)
    taps = numbers(layer, grid.rank, "pool_size", "pool_length", default=2)
    given = layer.get("strides", "stride", default=None)
    strides = taps if given is None else numbers(layer, grid.rank, "strides", "stride")
    windows = LayerWindows.of(layer, taps, strides, [1] * grid.rank, causal=False)
    if kind == "average" and call.rules.backend == "torch" and windows.uneven(grid.spatial):
        raise layer.unsupported(
            "average pooling with uneven padding 'same', which Keras on torch fills with the values at the edge",
            "use padding='valid', or a padding layer before it",
        )
    attrs = {"kind": kind, "kernel": taps, **windows.attrs()}
    y = call.graph.add("pool", [grid.enter()], f"{call.base}/pool", attrs)
    windows.check(layer, grid.spatial)
    return [grid.leave(y)]


@keras_layer("GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D")
def _over_all(call: Call) -> list[Tensor]:
    grid, kind = SpatialInput.of(call), "max" if "Max" in call.layer.class_name else "mean"
    keepdims = call.layer.flag("keepdims", default=False)
    attrs = {"kind": kind, "axes": grid.axes, "keepdims": keepdims}
    return [Tensor(call.graph.add("reduce", [grid.x.value], call.base, attrs))]


@keras_layer("GlobalAveragePooling1D")
def _mean_over_steps(call: Call) -> list[Tensor]:
    """Average over the steps that the mask shows; it is the only layer in this file that uses masks."""
    call.check_arguments("mask")
    layer, graph, grid = call.layer, call.graph, SpatialInput.of(call)
    x = grid.x
    (mask,), _ = call.masks()
    if mask is None:
        return _over_all(call)
    keepdims = layer.flag("keepdims", default=False)
    attrs = {"kind": "sum", "axes": grid.axes, "keepdims": keepdims}
    shown = graph.add("unsqueeze", [mask], f"{call.base}/shown", {"axes": [grid.channel_axis]})
    ones = graph.add("cast", [shown], f"{call.base}/ones", {"to": x.dtype})
    kept = graph.add("where", [shown, x.value, graph.scalar(0.0, x, f"{call.base}/zero")], f"{call.base}/kept")
    total = graph.add("reduce", [kept], f"{call.base}/total", attrs)
    count = graph.add("reduce", [ones], f"{call.base}/count", attrs)
    return [Tensor(graph.add("binary", [total, count], call.base, {"kind": "div"}))]
