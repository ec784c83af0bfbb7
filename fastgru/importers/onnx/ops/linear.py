"""Matrix multiplications. A multiplication by a constant matrix becomes a linear layer."""

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator
from fastgru.reference.operator import is_floating

__all__ = ["gemm", "matmul"]


def _is_weight(value: Value) -> bool:
    return value.array is not None and value.array.ndim == 2 and is_floating(value.array.dtype)


def _weight(node: OnnxNode, build: OnnxGraphBuilder, value: Value, *, transposed: bool, factor: float = 1) -> Value:
    """Return factor times the matrix (O, I) of a linear layer. transposed: the value is (O, I) already, not (I, O)."""
    weight = node.finite(value, "weight")
    weight = weight if transposed else build.emit("transpose", weight, perm=[1, 0])
    weight = _scaled(weight, factor, node, build)
    weight.hint = value.hint
    return weight


@operator("MatMul", versions=(1, 9, 13), inputs=(2, 2))
def _matmul(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    return matmul(node, build, node.input(0), node.input(1))


def matmul(node: OnnxNode, build: OnnxGraphBuilder, a: Value, b: Value) -> Value:
    """Return a b; a linear layer computes it if b is a constant matrix."""
    node.floats(a, b)
    if a.array is None and _is_weight(b) and a.rank != 0:
        return build.emit("linear", a, _weight(node, build, b, transposed=False))
    return build.emit("matmul", a, b)


@operator("Gemm", versions=(7, 9, 11, 13), inputs=(2, 3))
def gemm(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """alpha * A' B' + beta * C, where transA and transB transpose A' and B'."""
    a, b, c = node.input(0), node.input(1), node.optional(2)
    node.floats(a, b)
    alpha, beta = node.attrs.number("alpha", 1.0), node.attrs.number("beta", 1.0)
    if any(v is not None and v.rank not in (None, 2) for v in (a, b)) or (c is not None and (c.rank or 0) > 2):
        ranks = [None if v is None else v.rank for v in (a, b, c)]
        raise node.invalid(f"its inputs have {ranks} axes, expected matrices")
    if node.attrs.flag("transA", False):
        a = build.emit("transpose", a, perm=[1, 0])
    transposed = node.attrs.flag("transB", False)
    if a.array is not None or not _is_weight(b):
        b = build.emit("transpose", b, perm=[1, 0]) if transposed else b
        y = _scaled(build.emit("matmul", a, b), alpha, node, build)
        return y if c is None else build.emit("binary", y, _scaled(c, beta, node, build), kind="add")
    weight = _weight(node, build, b, transposed=transposed, factor=alpha)
    bias = None if c is None else _scaled(node.finite(c, "bias"), beta, node, build)
    if c is None or bias is None or not _is_row(bias, weight):
        y = build.emit("linear", a, weight)
        return y if bias is None else build.emit("binary", y, bias, kind="add")
    flat = build.emit("reshape", bias, build.integers([-1]))
    row = build.emit("expand", flat, build.emit("shape", weight, start=0, end=1))
    row.hint = c.hint
    return build.emit("linear", a, weight, row)


def _is_row(bias: Value, weight: Value) -> bool:
    """Return whether a bias is constant and the same for every row: of shape (), (1,), (O,), (1, 1) or (1, O)."""
    outputs = weight.shape[0]
    return bias.array is not None and bias.array.shape in ((), (1,), (1, 1), (outputs,), (1, outputs))


def _scaled(value: Value, factor: float, node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    if factor == 1:
        return value
    if value.dtype is None or value.dtype.startswith(("int", "uint")):
        raise node.unsupported(
            f"alpha or beta is {factor}, and the dtype is {value.dtype or 'unknown'}", "use a Mul of this factor"
        )
    return build.emit("binary", value, build.scalar(factor, value), kind="mul")
