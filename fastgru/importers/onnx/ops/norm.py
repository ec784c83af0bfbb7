"""Normalisation."""

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator, same

__all__ = ["layer_norm", "rms_norm"]


@operator("LayerNormalization", versions=(17,), inputs=(2, 3), outputs=3, limits="stash_type must be 1")
def layer_norm(node: OnnxNode, build: OnnxGraphBuilder) -> Value | tuple[Value, ...]:
    """Normalise over the last axes; also return the mean and the inverse standard deviation if they are used."""
    x, scale, bias = node.input(0), node.input(1), node.optional(2)
    axis, epsilon, normalised = _over_last(node)
    if normalised is not None and scale.rank == normalised and (bias is None or bias.rank == normalised):
        y = build.emit("layer_norm", x, scale, bias, axis=axis, epsilon=epsilon)
    else:  # ONNX lets scale and bias have fewer axes and broadcast
        y = build.emit("layer_norm", x, axis=axis, epsilon=epsilon)
        y = build.emit("binary", y, scale, kind="mul")
        y = y if bias is None else build.emit("binary", y, bias, kind="add")
    if not node.wants(1) and not node.wants(2):
        return y
    if normalised is None:
        raise node.unsupported("outputs Mean and InvStdDev of a tensor of unknown rank", "give a negative axis")
    axes = list(range(-normalised, 0))
    mean = build.emit("reduce", x, kind="mean", axes=axes, keepdims=True)
    centred = build.emit("binary", x, mean, kind="sub")
    square = build.emit("binary", centred, centred, kind="mul")
    variance = build.emit("reduce", square, kind="mean", axes=axes, keepdims=True)
    deviation = build.emit("unary", build.emit("binary", variance, build.scalar(epsilon, x), kind="add"), kind="sqrt")
    inverse = build.emit("unary", deviation, kind="reciprocal")
    if x.dtype != "float32":  # stash_type gives these two outputs float32
        mean, inverse = (build.emit("cast", v, to="float32") for v in (mean, inverse))
    return y, mean, inverse


@operator("BatchNormalization", versions=(7, 9, 14, 15), inputs=(5, 5), outputs=5, limits="inference only")
def _batch_norm(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    node.attrs.number("momentum", 0.9)  # updates the running statistics, only in training
    epsilon = node.attrs.number("epsilon", 1e-5)
    if node.version < 9 and not node.attrs.flag("spatial", True):
        raise node.unsupported("attribute 'spatial' is 0", "export with opset 9 or later")
    training = node.version >= 14 and node.attrs.flag("training_mode", False)
    if training or any(node.wants(i) for i in range(1, 5)):
        raise node.unsupported("it is in training mode", "export the model in inference mode: model.eval()")
    return build.emit("batch_norm", *(node.input(i) for i in range(5)), axis=1, epsilon=epsilon)


operator("InstanceNormalization", versions=(6, 22), inputs=(3, 3))(same("group_norm", {"epsilon": 1e-5}))


@operator("GroupNormalization", versions=(18, 21), inputs=(3, 3), limits="stash_type must be 1")
def _group_norm(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """Normalise over groups of channels. Version 18 has one scale and bias per group; repeat them for its channels."""
    x, scale, bias = (node.input(i) for i in range(3))
    groups, epsilon = node.attrs.integer("num_groups"), node.attrs.number("epsilon", 1e-5)
    _stash(node)
    if node.version < 21:
        each = build.emit("binary", build.emit("shape", x, start=1, end=2), build.integers([groups]), kind="div")
        tall = build.emit("concat", build.integers([groups]), each, axis=0)
        scale, bias = (
            build.emit(
                "reshape", build.emit("expand", build.emit("unsqueeze", v, axes=[1]), tall), build.integers([-1])
            )
            for v in (scale, bias)
        )
    return build.emit("group_norm", x, scale, bias, epsilon=epsilon, groups=groups)


@operator("RMSNormalization", versions=(23,), inputs=(2, 2), limits="stash_type must be 1")
def rms_norm(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """Divide by the root mean square."""
    x, scale = node.input(0), node.input(1)
    axis, epsilon, normalised = _over_last(node)
    if normalised is not None and scale.rank == normalised and scale.array is not None and 1 not in scale.array.shape:
        return build.emit("rms_norm", x, scale, axis=axis, epsilon=epsilon)
    return build.emit("binary", build.emit("rms_norm", x, axis=axis, epsilon=epsilon), scale, kind="mul")


def _over_last(node: OnnxNode) -> tuple[int, float, int | None]:
    """Return (axis, epsilon, number of normalised axes or None); the axes from `axis` on are normalised."""
    _stash(node)
    axis, rank = node.attrs.integer("axis", -1), node.input(0).rank
    count = -axis if axis < 0 else None if rank is None else rank - axis
    return axis, node.attrs.number("epsilon", 1e-5), count


def _stash(node: OnnxNode) -> None:
    if node.attrs.integer("stash_type", 1) != 1:
        raise node.unsupported("attribute 'stash_type' is not 1 (float32)", "export with stash_type 1")


@operator("LpNormalization", versions=(1, 22), inputs=(1, 1))
def _lp_norm(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """Divide x by its norm; x stays zero if its norm is zero."""
    x, p = node.input(0), node.attrs.integer("p", 2)
    if p not in (1, 2):
        raise node.invalid(f"attribute 'p' is {p}, expected 1 or 2")
    norm = build.emit("reduce", x, kind=f"l{p}", axes=[node.attrs.integer("axis", -1)], keepdims=True)
    nothing = build.emit("compare", norm, build.scalar(0.0, x), kind="equal")
    return build.emit("binary", x, build.emit("where", nothing, build.scalar(1.0, x), norm), kind="div")
