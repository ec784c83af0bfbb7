"""Padding, under torch's names; amounts are those of torch.nn.functional.pad, the last axis first."""

from collections.abc import Sequence
from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.architecture.registry import DescribedLayer, layer_type

__all__ = ["padded"]

_MODES: Final = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_MODULES: Final = {
    "Constant": "constant", "Circular": "wrap", "Reflection": "reflect", "Replication": "edge", "Zero": "constant",
}  # fmt: skip


@layer_type("Pad", options="pad mode value")
def _pad(layer: DescribedLayer) -> Value:
    """pad: (before, after) of the last axis, then of the one before it, and so on; negative amounts take away."""
    amounts = layer.options.integers("pad")
    if len(amounts) % 2 or len(amounts) // 2 > layer.rank:
        raise layer.options.wrong("pad", f"two numbers for each axis, of at most {layer.rank}")
    mode, value = _MODES[layer.options.choice("mode", tuple(_MODES), "constant")], layer.options.number("value", 0.0)
    if mode != "constant" and value:
        raise layer.invalid(f"value is {value} in mode {mode!r}, which takes none")
    return _backwards(layer, amounts, mode, value)


@layer_type("ConstantPad1d", "ConstantPad2d", options="padding value")
@layer_type(*(f"{name}Pad{n}d" for name in _MODULES if name != "Constant" for n in (1, 2)), options="padding")
def _module(layer: DescribedLayer) -> Value:
    kind, amounts = layer.type[:-5], _amounts(layer)
    return _backwards(layer, amounts, _MODULES[kind], layer.options.number("value") if kind == "Constant" else 0.0)


def _amounts(layer: DescribedLayer) -> list[int]:
    n = int(layer.type[-2])
    layer.need_rank(n + 1, n + 2, form=f"{n + 1} or {n + 2} axes")
    amounts = layer.options.integers("padding")
    if len(amounts) not in (1, 2 * n):
        raise layer.options.wrong("padding", f"an integer, or {2 * n}")
    return amounts * (2 * n) if len(amounts) == 1 else amounts


def _backwards(layer: DescribedLayer, amounts: Sequence[int], mode: str, value: float) -> Value:
    count = len(amounts) // 2
    axes = list(range(layer.rank - count, layer.rank))
    before, after = list(amounts[0::2])[::-1], list(amounts[1::2])[::-1]
    return padded(layer, layer.x, axes, [*before, *after], mode, value)


def padded(
    layer: DescribedLayer, x: Value, axes: Sequence[int], pads: Sequence[int], mode: str, value: float = 0.0
) -> Value:
    """x with `pads` elements more: before each of `axes`, then after each."""
    for i, axis in enumerate(axes):
        before, after, size = pads[i], pads[i + len(axes)], x.shape[axis]
        most = {"reflect": -1, "wrap": 0}.get(mode)
        if size is None:
            continue
        if size + before + after < 0 or (most is not None and max(before, after) > size + most):
            raise layer.wrong_input(f"another size on axis {axis} for a padding of {before} and {after}")
    if not any(pads):
        return x
    amounts = layer.constant("pads", list(pads))
    fill = layer.constant("value", value, "float64") if mode == "constant" and value else None
    return layer.apply("pad", x, amounts, fill, mode=mode, axes=list(axes))
