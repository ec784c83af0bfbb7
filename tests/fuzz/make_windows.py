"""Windows that slide, pools, and images at other sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_builder import Builder, RejectError, Value
from graph_registry import generates


def weight(b: Builder, *shape: int, scale: float | None = None) -> Value:
    """A constant, small enough that what goes through it stays as large as it was."""
    fan = max(1, int(np.prod(shape[1:])))
    bound = scale or min(1.0, 2 / np.sqrt(fan))
    return b.constant(b.filled(shape, b.float, -bound, bound, False))


def spatial(b: Builder, axes: int, channels: int | None = None, least: int = 1) -> Value:
    """(N, C, D1, ...) with C fixed."""
    return b.value(
        ranks=(axes + 2, axes + 2),
        sizes=None,
        where=lambda v: (
            v.sizes[1][0] == v.sizes[1][1]
            and v.sizes[1][0] > 0
            and channels in (None, v.sizes[1][0])
            and all(min(s) >= least for s in v.sizes[2:])
            and min(v.sizes[0]) > 0
        ),
    )


def sliding(b: Builder, op: str, x: Value, taps: list[int], *, dilated: bool = True) -> dict[str, Any]:
    """strides, dilations and pads, each given some of the time.

    Left out is where ONNX Runtime leaves ONNX's text: SAME with dilations in pools, and SAME where the window of a pool
    or a ConvTranspose is shorter than its stride; windows that reach beyond the padded input, which are refused here.
    """
    axes = len(taps)
    attrs: dict[str, Any] = {}
    strides = [b.integer(1, 3) for _ in taps] if b.chance(0.5) else [1] * axes
    dilations = [b.integer(1, 2) for _ in taps] if dilated and b.chance(0.3) else [1] * axes
    extents = [(k - 1) * d + 1 for k, d in zip(taps, dilations, strict=True)]
    if max(strides) > 1 or b.chance(0.2):
        attrs["strides"] = strides
    if max(dilations) > 1 or (dilated and b.chance(0.2)):
        attrs["dilations"] = dilations
    pads = [0] * (2 * axes)
    if b.chance(0.5):
        most = [max(0, min(3, k - 1)) if "Pool" in op else 3 for k in taps]
        attrs["pads"] = pads = [b.integer(0, most[i % axes]) for i in range(2 * axes)]
    elif b.chance(0.4):
        attrs["auto_pad"] = b.pick(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
    if attrs.get("auto_pad", "").startswith("SAME"):
        if "Pool" in op and max(dilations) > 1:
            raise RejectError("SAME with dilations")
        if op != "Conv" and any(e < s for e, s in zip(extents, strides, strict=True)):
            raise RejectError("SAME with a short window")
    elif op != "ConvTranspose":
        for i, extent in enumerate(extents):
            if min(x.sizes[2 + i]) + pads[i] + pads[axes + i] < extent:
                raise RejectError("a window that does not fit")
    return attrs


@generates("Conv", "ConvTranspose")
def conv(b: Builder, op: str) -> object:
    axes = b.pick([1, 2, 2])
    x = spatial(b, axes)
    channels = x.sizes[1][0]
    group = b.pick([g for g in range(1, channels + 1) if channels % g == 0]) if b.chance(0.5) else 1
    taps = [b.integer(1, 4) for _ in range(axes)]
    outputs = group * b.integer(1, 1 if group > 8 else 5)
    attrs = sliding(b, op, x, taps)
    if op == "Conv":
        w = weight(b, outputs, channels // group, *taps)
    else:
        w = weight(b, channels, outputs // group, *taps, scale=0.4)
        if "strides" in attrs and b.chance(0.4):
            attrs["output_padding"] = [b.integer(0, s - 1) for s in attrs["strides"]]
        if b.chance(0.1):
            attrs["output_shape"] = [min(s) * 2 + 1 for s in x.sizes[2:]]
            attrs.pop("pads", None)
    bias = weight(b, outputs) if b.chance(0.6) else None
    return b.add(op, [x, w, bias], group=group if group > 1 or b.chance(0.2) else None,
                 kernel_shape=taps if b.chance(0.7) else None, **attrs)  # fmt: skip


@generates("AveragePool", "MaxPool")
def pool(b: Builder, op: str) -> object:
    axes = b.pick([1, 2, 2])
    x = spatial(b, axes)
    taps = [b.integer(1, 4) for _ in range(axes)]
    version = b.version(op)
    attrs = sliding(b, op, x, taps, dilated=version >= (10 if op == "MaxPool" else 19))
    if version >= 10 and b.chance(0.3):
        attrs["ceil_mode"] = 1
    if op == "AveragePool" and b.chance(0.4):
        attrs["count_include_pad"] = 1
    return b.add(op, [x], exact="moves" if op == "MaxPool" else "no", kernel_shape=taps, **attrs)


@generates("GlobalAveragePool", "GlobalMaxPool")
def global_pool(b: Builder, op: str) -> object:
    return b.add(op, [spatial(b, b.integer(1, 3))], exact="moves" if op == "GlobalMaxPool" else "no")


@generates("Resize")
def resize(b: Builder, op: str) -> object:
    version = b.version(op)
    x = spatial(b, b.pick([1, 2]))
    axes = x.rank - 2
    mode = b.pick(["nearest", "linear", "cubic"] if version >= 11 and axes == 2 else ["nearest", "linear"])
    if version < 11:
        scales = [1.0, 1.0, *(b.pick([1.0, 2.0, 3.0, 0.5, 1.5]) for _ in range(axes))]
        return b.add(op, [x, b.constant(scales, np.float32)], exact="moves" if mode == "nearest" else "no", mode=mode)
    attrs: dict[str, Any] = {"mode": mode}
    ways = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    if version >= 19 and mode != "nearest":  # whose ties are decided by what float32 rounds
        ways.append("half_pixel_symmetric")
    if b.chance(0.8):
        attrs["coordinate_transformation_mode"] = b.pick(ways)
    if mode == "nearest" and b.chance(0.7):
        attrs["nearest_mode"] = b.pick(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    if mode == "cubic" and b.chance(0.5):
        attrs |= {"cubic_coeff_a": b.pick([-0.5, -0.75]), "exclude_outside": b.integer(0, 1)}
    if version >= 18 and mode != "nearest" and b.chance(0.3):
        attrs["antialias"] = 1
    exact = "moves" if mode == "nearest" else "no"
    empty = b.constant(np.zeros(0, np.float32))
    roi = empty if version < 13 or b.chance(0.5) else None
    only = version >= 18 and b.chance(0.3)
    if only:
        attrs["axes"] = list(range(2, x.rank))
    factors = [b.pick([1.0, 2.0, 0.5, 1.5, 3.0]) for _ in range(axes)]
    if b.chance(0.6):
        scales = b.constant(factors if only else [1.0, 1.0, *factors], np.float32)
        return b.add(op, [x, roi, scales], exact=exact, **attrs)
    if not x.fixed and not only:
        raise RejectError("sizes of free axes")
    if only and any(n != m for n, m in x.sizes[2:]):
        raise RejectError("sizes of free axes")
    wanted = [b.integer(1, 9) for _ in range(axes)]
    if version >= 18 and only and b.chance(0.3):
        attrs["keep_aspect_ratio_policy"] = b.pick(["not_larger", "not_smaller", "stretch"])
    sizes = b.ints(wanted if only else [s[0] for s in x.sizes[:2]] + wanted)
    scales = None if version >= 13 else b.constant(np.zeros(0, np.float32))
    return b.add(op, [x, roi, scales, sizes], exact=exact, **attrs)


@generates("Upsample")
def upsample(b: Builder, op: str) -> object:
    if b.opset >= 10:
        raise RejectError("gone with opset 10")
    x = spatial(b, 2)
    scales = [1.0, 1.0, *(b.pick([1.0, 2.0, 3.0, 1.5]) for _ in range(2))]
    mode = b.pick(["nearest", "linear"])
    exact = "moves" if mode == "nearest" else "no"
    if b.version(op) < 9:
        return b.add(op, [x], exact=exact, mode=mode, scales=scales)
    return b.add(op, [x, b.constant(scales, np.float32)], exact=exact, mode=mode)
