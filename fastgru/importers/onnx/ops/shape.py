"""Operators that move nothing: the same elements in another shape, and shapes as values."""

from __future__ import annotations

from fastgru.importers.onnx.builder import Builder
from fastgru.importers.onnx.node import OnnxNode
from fastgru.importers.onnx.registry import operator
from fastgru.importers.onnx.values import Value

__all__: list[str] = []


@operator("Reshape", versions=(5, 13, 14, 19, 21, 23, 24, 25), inputs=(2, 2), sizes=(1,))
def _reshape(node: OnnxNode, build: Builder) -> Value:
    allow_zero = node.attrs.flag("allowzero", False)
    attrs = {"allow_zero": True} if allow_zero else {}
    return build.emit("reshape", node.input(0), node.input(1), **attrs)


@operator("Transpose", versions=(1, 13, 21, 23, 24, 25), inputs=(1, 1))
def _transpose(node: OnnxNode, build: Builder) -> Value:
    x = node.input(0)
    perm = node.attrs.integers("perm")
    if perm is None:
        if x.rank is None:
            raise node.unsupported(
                "attribute 'perm' is absent and the number of axes cannot be told from the file", "give perm"
            )
        perm = list(reversed(range(x.rank)))
    if sorted(perm) != list(range(len(perm))) or x.rank not in (None, len(perm)):
        raise node.invalid(f"perm {perm} does not permute {len(perm) if x.rank is None else x.rank} axes")
    return build.emit("transpose", x, perm=perm)


def _axes(node: OnnxNode) -> list[int] | None:
    """The attribute before version 13, the input from then on."""
    axes = node.constant_integers(1, "axes") if node.version >= 13 else node.attrs.integers("axes")
    if axes is not None and len(set(axes)) != len(axes):
        raise node.invalid(f"axes {axes} name an axis twice")
    return axes


@operator("Squeeze", versions=(1, 11, 13, 21, 23, 24, 25), inputs=(1, 2), constants={1: "axes"})
def _squeeze(node: OnnxNode, build: Builder) -> Value:
    x = node.input(0)
    axes = _axes(node)
    if axes is not None and not axes:
        return x
    return build.emit("squeeze", x, axes=axes or [])


@operator("Unsqueeze", versions=(1, 11, 13, 21, 23, 24, 25), inputs=(1, 2), constants={1: "axes"})
def _unsqueeze(node: OnnxNode, build: Builder) -> Value:
    axes = _axes(node)
    if axes is None:
        raise node.invalid("axes is missing")
    return build.emit("unsqueeze", node.input(0), axes=axes)


@operator("Flatten", versions=(1, 9, 11, 13, 21, 23, 24, 25), inputs=(1, 1))
def _flatten(node: OnnxNode, build: Builder) -> Value:
    return build.emit("flatten", node.input(0), axis=node.attrs.integer("axis", 1))


@operator("Expand", versions=(8, 13), inputs=(2, 2), sizes=(1,))
def _expand(node: OnnxNode, build: Builder) -> Value:
    return build.emit("expand", node.input(0), node.input(1))


@operator("Shape", versions=(1, 13, 15, 19, 21, 23, 24, 25), inputs=(1, 1))
def _shape(node: OnnxNode, build: Builder) -> Value:
    start = node.attrs.integer("start", 0)
    if "end" in node.attrs:
        return build.emit("shape", node.input(0), start=start, end=node.attrs.integer("end"))
    return build.emit("shape", node.input(0), start=start)


@operator("Size", versions=(1, 13, 19, 21, 23, 24, 25), inputs=(1, 1))
def _size(node: OnnxNode, build: Builder) -> Value:
    return build.emit("reduce", build.emit("shape", node.input(0)), kind="prod", axes=[0], keepdims=False)
