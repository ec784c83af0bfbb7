"""Operators that change the shape or order of elements, return a shape, or make a tensor of a given shape."""

import numpy as np

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator, same


@operator("Reshape", versions=(5, 13, 14, 19, 21, 23, 24, 25), inputs=(2, 2), sizes=(1,))
def _reshape(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    attrs = {"allow_zero": True} if node.attrs.flag("allowzero", False) else {}
    return build.emit("reshape", node.input(0), node.input(1), **attrs)


@operator("Transpose", versions=(1, 13, 21, 23, 24, 25), inputs=(1, 1))
def _transpose(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x = node.input(0)
    perm = node.attrs.integers("perm")
    if perm is None:
        if x.rank is None:
            raise node.unsupported(
                "attribute 'perm' is absent and the number of axes does not follow from the file", "give perm"
            )
        perm = list(reversed(range(x.rank)))
    if sorted(perm) != list(range(len(perm))) or x.rank not in (None, len(perm)):
        raise node.invalid(f"perm {perm} does not permute {len(perm) if x.rank is None else x.rank} axes")
    return build.emit("transpose", x, perm=perm)


def _axes(node: OnnxNode) -> list[int] | None:
    """Return `axes`: an attribute before version 13, an input from then on."""
    axes = node.constant_integers(1, "axes") if node.version >= 13 else node.attrs.integers("axes")
    if axes is not None and len(set(axes)) != len(axes):
        raise node.invalid(f"axes {axes} name an axis twice")
    return axes


@operator("Squeeze", versions=(1, 11, 13, 21, 23, 24, 25), inputs=(1, 2), constants={1: "axes"})
def _squeeze(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x = node.input(0)
    axes = _axes(node)
    if axes is not None and not axes:
        return x
    return build.emit("squeeze", x, axes=axes or [])


@operator("Unsqueeze", versions=(1, 11, 13, 21, 23, 24, 25), inputs=(1, 2), constants={1: "axes"})
def _unsqueeze(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    axes = _axes(node)
    if axes is None:
        raise node.invalid("axes is missing")
    return build.emit("unsqueeze", node.input(0), axes=axes)


operator("Flatten", versions=(1, 9, 11, 13, 21, 23, 24, 25), inputs=(1, 1))(same("flatten", {"axis": 1}))
operator("Expand", versions=(8, 13), inputs=(2, 2), sizes=(1,))(same("expand"))


@operator("Shape", versions=(1, 13, 15, 19, 21, 23, 24, 25), inputs=(1, 1))
def _shape(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    end = {"end": node.attrs.integer("end")} if "end" in node.attrs else {}
    return build.emit("shape", node.input(0), start=node.attrs.integer("start", 0), **end)


@operator("Size", versions=(1, 13, 19, 21, 23, 24, 25), inputs=(1, 1))
def _size(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    return build.emit("reduce", build.emit("shape", node.input(0)), kind="prod", axes=[0], keepdims=False)


@operator("ConstantOfShape", versions=(9, 20, 21, 23, 24, 25), inputs=(1, 1), sizes=(0,))
def _constant_of_shape(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    given = node.attrs.array("value")
    value = np.zeros(1, np.float32) if given is None else given
    if value.size != 1:
        raise node.invalid(f"attribute 'value' has {value.size} elements, expected 1")
    number = value.reshape(-1)[0].item()
    return build.emit("constant_of_shape", node.input(0), value=number, dtype=value.dtype.name)


@operator("Range", versions=(11, 27), inputs=(3, 3), sizes=(0, 1, 2))
def _range(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    bounds = [node.input(i) for i in range(3)]
    dtype = bounds[0].dtype
    if node.attrs.integer("stash_type", 1) == 1 and node.version >= 27 and dtype in ("bfloat16", "float16"):
        y = build.emit("range", *(build.emit("cast", v, to="float32") for v in bounds))
        return build.emit("cast", y, to=dtype)
    return build.emit("range", *bounds)


@operator("DepthToSpace", versions=(1, 11, 13, 28), inputs=(1, 1))
def _depth_to_space(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """(N, C, H, W) -> (N, C / b^2, H b, W b)."""
    x, b = node.input(0), _block(node)
    mode = node.attrs.choice("mode", ("CRD", "DCR"), "DCR") if node.version >= 11 else "DCR"
    n, hw = build.emit("shape", x, start=0, end=1), build.emit("shape", x, start=2, end=4)
    channels = build.emit("shape", x, start=1, end=2)
    c = build.emit("binary", channels, build.integers([b * b]), kind="div")
    block = build.integers([b, b])
    split = [block, c] if mode == "DCR" else [c, block]
    wide = build.emit("reshape", x, build.emit("concat", n, *split, hw, axis=0), allow_zero=True)
    perm = [0, 3, 4, 1, 5, 2] if mode == "DCR" else [0, 1, 4, 2, 5, 3]
    sizes = build.emit("binary", hw, build.integers([b]), kind="mul")
    target = build.emit("concat", n, c, sizes, axis=0)
    return build.emit("reshape", build.emit("transpose", wide, perm=perm), target, allow_zero=True)


@operator("SpaceToDepth", versions=(1, 13, 28), inputs=(1, 1))
def _space_to_depth(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """(N, C, H, W) -> (N, C b^2, H / b, W / b)."""
    x, b = node.input(0), _block(node)
    mode = node.attrs.choice("mode", ("CRD", "DCR"), "DCR") if node.version >= 28 else "DCR"
    nc, n = build.emit("shape", x, start=0, end=2), build.emit("shape", x, start=0, end=1)
    h, w = (
        build.emit("binary", build.emit("shape", x, start=i, end=i + 1), build.integers([b]), kind="div")
        for i in (2, 3)
    )
    block = build.integers([b])
    wide = build.emit("reshape", x, build.emit("concat", nc, h, block, w, block, axis=0), allow_zero=True)
    perm = [0, 3, 5, 1, 2, 4] if mode == "DCR" else [0, 1, 3, 5, 2, 4]
    channels = build.emit("binary", build.emit("shape", x, start=1, end=2), build.integers([b * b]), kind="mul")
    target = build.emit("concat", n, channels, h, w, axis=0)
    return build.emit("reshape", build.emit("transpose", wide, perm=perm), target, allow_zero=True)


def _block(node: OnnxNode) -> int:
    size = node.attrs.integer("blocksize")
    if not 1 <= size <= 1 << 15:
        raise node.invalid(f"attribute 'blocksize' is {size}, expected a positive integer")
    return size
