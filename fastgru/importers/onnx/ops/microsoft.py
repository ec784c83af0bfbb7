"""Operators that onnxruntime's optimisers write in place of several ONNX operators."""

from collections.abc import Callable
from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.ops.conv import convolved
from fastgru.importers.onnx.ops.indexing import positions
from fastgru.importers.onnx.ops.linear import gemm, matmul
from fastgru.importers.onnx.ops.norm import layer_norm, rms_norm
from fastgru.importers.onnx.registry import MICROSOFT, OF_OPTIMISERS, OnnxNode, operator

_ACTIVATIONS: Final = {
    "Elu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "LeakyRelu": ("alpha",), "Relu": (), "Sigmoid": (),
    "Softplus": (), "Softsign": (), "Tanh": (), "ThresholdedRelu": ("alpha",),
}  # fmt: skip
_KINDS: Final = {"Elu": "elu", "HardSigmoid": "hard_sigmoid", "LeakyRelu": "leaky_relu",
                 "ThresholdedRelu": "thresholded_relu"}  # fmt: skip


def _activated(node: OnnxNode, build: OnnxGraphBuilder, y: Value, numbers: list[float] | None) -> Value:
    """Apply the node's activation, if any, to y. numbers: alpha and beta, or the bounds of a Clip."""
    name, given = node.attrs.string("activation", ""), list(numbers or ())
    if not name:
        return y
    if name == "Clip" and len(given) == 2:
        return build.emit("clip", y, *(build.scalar(bound, y) for bound in given))
    if name not in _ACTIVATIONS or len(given) < len(_ACTIVATIONS[name]):
        raise node.unsupported(
            f"activation {name!r} of numbers {given}", "write the file with GraphOptimizationLevel.ORT_ENABLE_BASIC"
        )
    named = dict(zip(_ACTIVATIONS[name], given, strict=False))
    return build.emit("activation", y, kind=_KINDS.get(name, name.lower()), **named)


@operator("FusedMatMul", versions=(1,), inputs=(2, 2), domain=MICROSOFT)
def _fused_matmul(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """alpha * A' B', where A' and B' are transposed as the attributes say."""
    alpha = node.attrs.number("alpha", 1.0)
    a = _exchanged(node, build, node.input(0), "A")
    b = _exchanged(node, build, node.input(1), "B")
    y = matmul(node, build, a, b)
    return y if alpha == 1 else build.emit("binary", y, build.scalar(alpha, y), kind="mul")


def _exchanged(node: OnnxNode, build: OnnxGraphBuilder, x: Value, name: str) -> Value:
    """Transpose x: with transBatch the rows of each matrix are on the first axis; trans transposes each matrix."""
    batches, matrices = node.attrs.flag(f"transBatch{name}", False), node.attrs.flag(f"trans{name}", False)
    if not batches and not matrices:
        return x
    if x.rank is None:
        raise node.unsupported(f"the number of axes of {name} is not known", "export with shape inference")
    axes = list(range(x.rank))
    if batches and x.rank > 2:
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if matrices and x.rank > 1:
        axes[-2:] = axes[:-3:-1]
    return build.emit("transpose", x, perm=axes)


operator("TransposeMatMul", versions=(1,), inputs=(2, 2), domain=MICROSOFT)(_fused_matmul)


@operator("FusedGemm", versions=(1,), inputs=(2, 3), domain=MICROSOFT)
def _fused_gemm(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    names = [f"activation_{name}" for name in ("alpha", "beta", "gamma")]
    numbers = [node.attrs.number(name) for name in names if name in node.attrs]
    return _activated(node, build, gemm(node, build), numbers)


@operator("FusedConv", versions=(1,), inputs=(2, 4), constants={1: "W", 2: "B"}, domain=MICROSOFT)
def _fused_conv(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    y, z = convolved(node, build), node.optional(3)
    y = y if z is None else build.emit("binary", y, z, kind="add")
    return _activated(node, build, y, node.attrs.numbers("activation_params"))


def _gelu(kind: str) -> Callable[[OnnxNode, OnnxGraphBuilder], Value]:
    def convert(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
        x, bias = node.input(0), node.optional(1)
        return build.emit("unary", x if bias is None else build.emit("binary", x, bias, kind="add"), kind=kind)

    return convert


operator("Gelu", versions=(1,), inputs=(1, 1), domain=MICROSOFT)(_gelu("gelu"))
operator("BiasGelu", versions=(1,), inputs=(2, 2), domain=MICROSOFT)(_gelu("gelu"))
operator("FastGelu", versions=(1,), inputs=(1, 2), domain=MICROSOFT)(_gelu("gelu_tanh"))


@operator("QuickGelu", versions=(1,), inputs=(1, 1), domain=MICROSOFT)
def _quick_gelu(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """x * sigmoid(alpha * x)."""
    x, alpha = node.input(0), node.attrs.number("alpha", 1.702)
    scaled = x if alpha == 1 else build.emit("binary", x, build.scalar(alpha, x), kind="mul")
    return build.emit("binary", x, build.emit("activation", scaled, kind="sigmoid"), kind="mul")


_MEANS: Final = "its outputs mean and inv_std_var are used"


def _skipping(node: OnnxNode, build: OnnxGraphBuilder, bias: Value | None) -> Value:
    """input + skip + bias."""
    if node.wants(1) or node.wants(2):
        raise node.unsupported(_MEANS, "remove what reads them")
    total = build.emit("binary", node.input(0), node.input(1), kind="add")
    return total if bias is None else build.emit("binary", total, bias, kind="add")


@operator("SkipLayerNormalization", versions=(1,), inputs=(3, 5), outputs=4, domain=MICROSOFT)
def _skip_layer_norm(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    total, epsilon = _skipping(node, build, node.optional(4)), node.attrs.number("epsilon", 1e-12)
    y = build.emit("layer_norm", total, node.input(2), node.optional(3), axis=-1, epsilon=epsilon)
    return y, Value(""), Value(""), total


@operator("SkipSimplifiedLayerNormalization", versions=(1,), inputs=(3, 4), outputs=4, domain=MICROSOFT)
def _skip_rms_norm(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    total, epsilon = _skipping(node, build, node.optional(3)), node.attrs.number("epsilon", 1e-12)
    return build.emit("rms_norm", total, node.input(2), axis=-1, epsilon=epsilon), Value(""), Value(""), total


@operator("SimplifiedLayerNormalization", versions=(1,), inputs=(2, 2), outputs=2, domain=OF_OPTIMISERS)
def _simplified_layer_norm(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    return rms_norm(node, build)


# onnxruntime wrote this operator into ai.onnx before ONNX defined it.
operator("LayerNormalization", versions=(1,), inputs=(2, 3), outputs=3, domain=OF_OPTIMISERS)(layer_norm)


@operator("EmbedLayerNormalization", versions=(1,), inputs=(7, 9), outputs=3, domain=MICROSOFT)
def _embed_layer_norm(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    """Sum the embeddings of words, positions and (if given) segments, and normalise the sum."""
    ids, segments, mask = positions(node.input(0), build), positions(node.optional(1), build), node.optional(7)
    places = positions(node.optional(8), build)
    if places is None:
        steps = build.emit("reshape", build.emit("shape", ids, start=1, end=2), build.integers([]))
        places = build.emit("range", build.integers(0), steps, build.integers(1))
    rows = [build.emit("gather", node.input(2), ids, axis=0), build.emit("gather", node.input(3), places, axis=0)]
    if segments is not None:
        rows.append(build.emit("gather", node.input(4), segments, axis=0))
    total = rows[0]
    for row in rows[1:]:
        total = build.emit("binary", total, row, kind="add")
    y = build.emit("layer_norm", total, node.input(5), node.input(6), axis=-1,
                   epsilon=node.attrs.number("epsilon", 1e-12))  # fmt: skip
    counts = Value("")
    if node.wants(1):
        if mask is None or node.attrs.integer("mask_index_type", 1) != 1:
            raise node.unsupported("its output mask_index is used", "remove what reads it")
        counts = build.emit("reduce", mask, kind="sum", axes=[1], keepdims=False)
    return y, counts, total
