"""Random nodes of the operators that onnx's reference implementation may carry out, for the proof of each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, defs, helper

GENERATORS: dict[tuple[str, str], Callable[[Any, Any, int], Case]] = {}
ML = "ai.onnx.ml"


@dataclass
class Case:
    """A node: its inputs (None for one that is absent), attributes and number of outputs.

    nodes: instead of it; dtypes: of the outputs, where nobody can infer them.
    """

    inputs: Sequence[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    nodes: Sequence[Any] = ()
    dtypes: Sequence[str] = ()


def generator(*names: str, domain: str = ""):
    """The decorated function makes a `Case` from a random generator, a dtype for each type parameter, and a version."""

    def register(function):
        GENERATORS.update({(domain, name): function for name in names})
        return function

    return register


def model_of(case: Case, op: str, domain: str, opset: int) -> tuple[ModelProto, dict[str, Any]]:
    """A model of the one node, and what it is fed with."""
    feeds = {f"x{i}": np.asarray(a) for i, a in enumerate(case.inputs) if a is not None}
    names = [f"x{i}" if a is not None else "" for i, a in enumerate(case.inputs)]
    outputs = [f"y{i}" for i in range(case.outputs)]
    nodes = case.nodes or [helper.make_node(op, names, outputs, domain=domain, name="node", **case.attributes)]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    made = [helper.make_empty_tensor_value_info(name) for name in outputs]
    for info, dtype in zip(made, case.dtypes, strict=False):
        info.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(nodes, "g", infos, made)
    imports = [helper.make_opsetid("", opset if domain == "" else min(defs.onnx_opset_version(), 21))]
    if domain:
        imports.append(helper.make_opsetid(domain, opset))
    return helper.make_model(graph, opset_imports=imports, ir_version=10), feeds


def opset_range(op: str, domain: str, version: int) -> tuple[int, int]:
    """The oldest and the newest opset that select this version of the definition."""
    versions = sorted(
        s.since_version for s in defs.get_all_schemas_with_history() if s.name == op and s.domain == domain
    )
    newest = {"": defs.onnx_opset_version(), ML: 5}.get(domain, 1)
    after = [v for v in versions if v > version]
    oldest = max(version, 7) if domain == "" else version
    return oldest, (after[0] - 1 if after else newest)


def numbers(rng, shape, dtype, spread=2.0):
    """Random numbers of a dtype, small integers for an integer one."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (rng.standard_normal(shape) * spread).astype(kind)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    return rng.integers(0 if kind.kind == "u" else -5, 6, shape).astype(kind)


def size(rng, least=1, most=5):
    return int(rng.integers(least, most + 1))


def one_of(rng, *choices):
    return choices[rng.integers(len(choices))]


def flag(rng):
    return int(rng.integers(2))


def some(rng, **attributes):
    """Some of the attributes, the others left at their defaults."""
    return {name: value for name, value in attributes.items() if rng.random() < 0.7}


def shape_of(rng, least=1, most=4):
    return tuple(size(rng, 1, 4) for _ in range(size(rng, least, most)))


# --- images


@generator("AffineGrid")
def affine_grid(rng, t, version):
    n, axes, n_axes = size(rng, 1, 3), size(rng, 2, 3), None
    n_axes = [size(rng, 2, 5) for _ in range(axes)]
    theta = numbers(rng, (n, axes, axes + 1), t["T1"])
    return Case([theta, np.array([n, size(rng), *n_axes])], some(rng, align_corners=flag(rng)))


@generator("GridSample")
def grid_sample(rng, t, version):
    axes = size(rng, 2, 3) if version >= 20 else 2
    n, c = size(rng, 1, 2), size(rng, 1, 3)
    x = numbers(rng, (n, c, *(size(rng, 2, 6) for _ in range(axes))), t["T1"])
    grid = (rng.uniform(-1.3, 1.3, (n, *(size(rng, 1, 4) for _ in range(axes)), axes))).astype(t["T2"])
    modes = ("linear" if version >= 20 else "nearest", "nearest")
    return Case(
        [x, grid],
        some(
            rng,
            mode=one_of(rng, *modes),
            padding_mode=one_of(rng, "zeros", "border", "reflection"),
            align_corners=flag(rng),
        ),
    )


@generator("Col2Im")
def col2im(rng, t, version):
    axes = size(rng, 1, 3)
    block = [size(rng, 1, 3) for _ in range(axes)]
    dilations, strides = ([size(rng, 1, 2) for _ in range(axes)] for _ in range(2))
    pads = [size(rng, 0, 1) for _ in range(2 * axes)]
    image = [size(rng, 1, 3) + d * (b - 1) for b, d in zip(block, dilations, strict=True)]
    steps = [
        (image[i] + pads[i] + pads[axes + i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1 for i in range(axes)
    ]
    x = numbers(rng, (size(rng, 1, 2), size(rng, 1, 2) * int(np.prod(block)), int(np.prod(steps))), t["T"])
    attributes = {"dilations": dilations, "pads": pads, "strides": strides}
    return Case([x, np.array(image), np.array(block)], attributes)


@generator("DeformConv")
def deform_conv(rng, t, version):
    group, offset_group = size(rng, 1, 2), size(rng, 1, 2)
    n, kernel = size(rng, 1, 2), [size(rng, 1, 3), size(rng, 1, 3)]
    c, m = 2 * group, group * size(rng, 1, 2)
    strides, dilations, pads = [size(rng, 1, 2)] * 2, [size(rng, 1, 2)] * 2, [size(rng, 0, 1) for _ in range(4)]
    image = [size(rng, 2, 4) + dilations[i] * (kernel[i] - 1) for i in range(2)]
    out = [(image[i] + pads[i] + pads[2 + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in range(2)]
    k = kernel[0] * kernel[1]
    inputs = [
        numbers(rng, (n, c, *image), t["T"]),
        numbers(rng, (m, c // group, *kernel), t["T"]),
        numbers(rng, (n, offset_group * k * 2, *out), t["T"], 0.8),
        numbers(rng, (m,), t["T"]) if flag(rng) else None,
        numbers(rng, (n, offset_group * k, *out), t["T"]) if flag(rng) else None,
    ]
    while inputs[-1] is None:
        inputs.pop()
    attributes = {"group": group, "offset_group": offset_group, "strides": strides, "dilations": dilations}
    return Case(inputs, attributes | {"pads": pads, "kernel_shape": kernel})


def window(rng, axes, version, *, dilated=True, ceil=True):
    kernel = [size(rng, 1, 3) for _ in range(axes)]
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    if flag(rng):
        attributes["strides"] = [size(rng, 1, 3) for _ in range(axes)]
    if dilated and flag(rng):
        attributes["dilations"] = [size(rng, 1, 2) for _ in range(axes)]
    if ceil and flag(rng):
        attributes["ceil_mode"] = flag(rng)
    if flag(rng):
        attributes["pads"] = [size(rng, 0, k - 1) for k in kernel * 2]
    elif flag(rng):
        attributes["auto_pad"] = one_of(rng, "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
    return attributes


def image(rng, axes, dtype):
    return numbers(rng, (size(rng, 1, 2), size(rng, 1, 3), *(size(rng, 5, 8) for _ in range(axes))), dtype)


@generator("LpPool")
def lp_pool(rng, t, version):
    axes = size(rng, 1, 3)
    attributes = window(rng, axes, version, dilated=version >= 18, ceil=version >= 18)
    return Case([image(rng, axes, t["T"])], attributes | some(rng, p=size(rng, 1, 3)))


@generator("AveragePool")
def average_pool(rng, t, version):
    attributes = window(rng, 3, version, dilated=version >= 19, ceil=version >= 10)
    return Case([image(rng, 3, t["T"])], attributes | some(rng, count_include_pad=flag(rng)))


@generator("MaxPool")
def max_pool(rng, t, version):
    return Case([image(rng, 3, t["T"])], window(rng, 3, version, dilated=version >= 10, ceil=version >= 10))


@generator("MaxUnpool")
def max_unpool(rng, t, version):
    axes = size(rng, 1, 3)
    n, c = size(rng, 1, 2), size(rng, 1, 2)
    kernel = [size(rng, 2, 3) for _ in range(axes)]
    pooled = [size(rng, 1, 3) for _ in range(axes)]
    whole = [p * k for p, k in zip(pooled, kernel, strict=True)]
    count = int(np.prod(pooled))
    each = int(np.prod(whole))
    indices = np.array([
        rng.choice(each, count, replace=False) + i * each for i in range(n * c)
    ]).reshape(n, c, *pooled)  # fmt: skip
    x = numbers(rng, (n, c, *pooled), t["T1"])
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": kernel}
    if flag(rng):
        bigger = [w + size(rng, 0, 1) for w in whole]
        return Case([x, indices, np.array([n, c, *bigger])], attributes)
    if flag(rng):
        attributes["pads"] = [0] * (2 * axes)
    return Case([x, indices], attributes)


@generator("RoiAlign")
def roi_align(rng, t, version):
    x = image(rng, 2, t["T1"])
    starts = rng.uniform(0, 3, (3, 2))
    rois = np.concatenate([starts, starts + rng.uniform(0.5, 4, (3, 2))], 1).astype(x.dtype)
    batch = rng.integers(0, len(x), 3).astype(np.int64)
    attributes = some(
        rng,
        mode=one_of(rng, "avg", "max"),
        output_height=size(rng, 1, 3),
        output_width=size(rng, 1, 3),
        sampling_ratio=size(rng, 0, 3),
        spatial_scale=float(rng.uniform(0.5, 1)),
    )
    if version >= 16:
        attributes |= some(rng, coordinate_transformation_mode=one_of(rng, "half_pixel", "output_half_pixel"))
    return Case([x, rois, batch], attributes)


@generator("NonMaxSuppression")
def non_max_suppression(rng, t, version):
    n, boxes, classes = size(rng, 1, 2), size(rng, 1, 8), size(rng, 1, 3)
    centred = flag(rng)
    if centred:
        box = np.concatenate([rng.uniform(0, 10, (n, boxes, 2)), rng.uniform(1, 6, (n, boxes, 2))], 2)
    else:
        start = rng.uniform(0, 10, (n, boxes, 2))
        box = np.concatenate([start, start + rng.uniform(1, 6, (n, boxes, 2))], 2)
        if flag(rng):
            box = box[..., [2, 3, 0, 1]]
    inputs = [
        box.astype(np.float32),
        rng.random((n, classes, boxes), np.float32),
        np.array([size(rng, 0, 6)]),
        rng.random(1, np.float32),
        rng.random(1, np.float32),
    ]
    return Case(inputs[: size(rng, 2, 5)], {"center_point_box": centred})


# --- convolutions


@generator("Conv")
def conv(rng, t, version):
    axes, group = size(rng, 1, 3), size(rng, 1, 2)
    attributes = window(rng, axes, version, ceil=False)
    c = group * size(rng, 1, 2)
    x = numbers(rng, (size(rng, 1, 2), c, *(size(rng, 5, 8) for _ in range(axes))), t["T"])
    w = numbers(rng, (group * size(rng, 1, 2), c // group, *attributes["kernel_shape"]), t["T"])
    bias = [numbers(rng, (len(w),), t["T"])] if flag(rng) else []
    return Case([x, w, *bias], attributes | {"group": group})


@generator("ConvTranspose")
def conv_transpose(rng, t, version):
    axes, group = size(rng, 1, 3), 1
    attributes = window(rng, axes, version, ceil=False)
    c = size(rng, 1, 3)
    x = numbers(rng, (size(rng, 1, 2), c, *(size(rng, 3, 5) for _ in range(axes))), t["T"])
    w = numbers(rng, (c, size(rng, 1, 2), *attributes["kernel_shape"]), t["T"])
    bias = [numbers(rng, (w.shape[1] * group,), t["T"])] if flag(rng) else []
    if flag(rng):
        strides = attributes.setdefault("strides", [2] * axes)
        attributes["output_padding"] = [size(rng, 0, s - 1) for s in strides]
    return Case([x, w, *bias], attributes | {"group": group})


@generator("ConvInteger")
def conv_integer(rng, t, version):
    axes, group = size(rng, 1, 3), size(rng, 1, 2)
    attributes = window(rng, axes, version, ceil=False)
    c = group * size(rng, 1, 2)
    x = numbers(rng, (size(rng, 1, 2), c, *(size(rng, 5, 8) for _ in range(axes))), t["T1"])
    w = numbers(rng, (group * size(rng, 1, 2), c // group, *attributes["kernel_shape"]), t["T2"])
    return Case([x, w], attributes | {"group": group})


@generator("CausalConvWithState")
def causal_conv(rng, t, version):
    c, n, k = size(rng, 1, 4), size(rng, 1, 2), size(rng, 1, 4)
    inputs = [
        numbers(rng, (n, c, size(rng, 1, 6)), t["T"]),
        numbers(rng, (c, 1, k), t["T"]),
        numbers(rng, (c,), t["T"]) if flag(rng) else None,
        numbers(rng, (n, c, k - 1), t["T"]) if flag(rng) else None,
    ]
    while inputs[-1] is None:
        inputs.pop()
    return Case(inputs, some(rng, activation=one_of(rng, "none", "silu", "swish")), 2)


@generator("LinearAttention")
def linear_attention(rng, t, version):
    n, steps, heads, dk, dv = size(rng, 1, 2), size(rng, 1, 5), size(rng, 1, 3), size(rng, 1, 4), size(rng, 1, 4)
    q_heads = heads * size(rng, 1, 2)
    rule = one_of(rng, "linear", "gated", "delta", "gated_delta")
    dtype = t["T"]
    q, k = (numbers(rng, (n, steps, h * dk), dtype, 0.5) for h in (q_heads, heads))
    v = numbers(rng, (n, steps, heads * dv), dtype)
    state = numbers(rng, (n, heads, dk, dv), t["S"]) if flag(rng) else None
    decay = None
    if "gated" in rule:
        wide = one_of(rng, heads, heads * dk)
        decay = -rng.random((n, steps, wide)).astype(dtype)
    beta = rng.random((n, steps, one_of(rng, heads, 1))).astype(dtype) if "delta" in rule else None
    inputs = [q, k, v, state, decay, beta]
    while inputs[-1] is None:
        inputs.pop()
    attributes = {"q_num_heads": q_heads, "kv_num_heads": heads, "update_rule": rule}
    return Case(inputs, attributes | some(rng, scale=float(rng.uniform(0.2, 1))), 2)


# --- arrays


@generator("Det")
def det(rng, t, version):
    n = size(rng, 1, 5)
    return Case([numbers(rng, (*shape_of(rng, 0, 2), n, n), t["T"], 1.0)])


@generator("BitCast")
def bit_cast(rng, t, version):
    x = numbers(rng, shape_of(rng), t["T1"])
    kinds = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16")
    same = [kind for kind in map(np.dtype, kinds) if kind.itemsize == x.dtype.itemsize]
    return Case([x], {"to": helper.np_dtype_to_tensor_dtype(one_of(rng, *same))})


@generator("CumSum", "CumProd")
def cumulative(rng, t, version):
    x = numbers(rng, shape_of(rng), t["T"])
    axis = np.array(rng.integers(-x.ndim, x.ndim), t["T2"])
    return Case([x, axis], some(rng, exclusive=flag(rng), reverse=flag(rng)))


@generator("Compress")
def compress(rng, t, version):
    x = numbers(rng, shape_of(rng), t["T"])
    axis = int(rng.integers(-x.ndim, x.ndim)) if version >= 11 else int(rng.integers(x.ndim))
    whole = flag(rng)
    length = x.size if whole else x.shape[axis]
    condition = rng.random(size(rng, 1, length)) < 0.6
    return Case([x, condition], {} if whole else {"axis": axis})


@generator("Unique")
def unique(rng, t, version):
    x = numbers(rng, shape_of(rng), t["T"])
    if x.dtype.kind == "f":
        x = np.round(x)
    attributes = some(rng, sorted=1, axis=int(rng.integers(-x.ndim, x.ndim)))
    return Case([x], attributes, size(rng, 1, 4))


@generator("Squeeze")
def squeeze(rng, t, version):
    shape = shape_of(rng, 1, 4)
    axes = rng.choice(len(shape), size(rng, 1, len(shape)), replace=False)
    shape = tuple(1 if i in axes else n for i, n in enumerate(shape))
    axes = np.array([i - len(shape) if flag(rng) else i for i in axes])
    return Case([numbers(rng, shape, t["T"]), axes])


@generator("Unsqueeze")
def unsqueeze(rng, t, version):
    shape = shape_of(rng, 0, 3)
    count = size(rng, 1, 2)
    axes = rng.choice(len(shape) + count, count, replace=False)
    axes = np.array([i - len(shape) - count if flag(rng) else i for i in axes])
    return Case([numbers(rng, shape, t["T"]), axes])


@generator(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def reduce(rng, t, version):
    x = numbers(rng, shape_of(rng, 1, 4), t["T"])
    axes = rng.choice(x.ndim, size(rng, 0, x.ndim), replace=False)
    axes = np.array([i - x.ndim if flag(rng) else i for i in axes], np.int64)
    return Case(
        [np.abs(x) + 1 if flag(rng) else x, axes], some(rng, keepdims=flag(rng), noop_with_empty_axes=flag(rng))
    )


@generator("Pad")
def pad(rng, t, version):
    shape = shape_of(rng, 1, 4)
    modes = ("constant", "edge", "reflect", *(("wrap",) if version >= 19 else ()))
    mode = one_of(rng, *modes)
    shape = tuple(n + 2 for n in shape)
    axes = rng.choice(len(shape), size(rng, 1, len(shape)), replace=False) if version >= 18 and flag(rng) else None
    count = len(shape) if axes is None else len(axes)
    pads = np.array([size(rng, 0, 2) for _ in range(2 * count)])
    value = numbers(rng, (), t["T"]) if mode == "constant" and flag(rng) else None
    inputs = [numbers(rng, shape, t["T"]), pads, value]
    if axes is not None:
        inputs.append(np.array([i - len(shape) if flag(rng) else i for i in axes], t.get("Tind", "int64")))
    while inputs[-1] is None:
        inputs.pop()
    return Case(inputs, {"mode": mode})


@generator("TensorScatter")
def tensor_scatter(rng, t, version):
    n, length, steps = size(rng, 1, 3), size(rng, 3, 6), size(rng, 1, 3)
    rest = shape_of(rng, 1, 2)
    heads = shape_of(rng, 0, 1)
    mode = one_of(rng, "linear", "circular")
    cache, update = (numbers(rng, (n, *heads, m, *rest), t["T"]) for m in (length, steps))
    most = length - steps if mode == "linear" else length - 1
    starts = rng.integers(0, most + 1, n)
    axis = 1 + len(heads)
    given = [] if flag(rng) else [starts]
    return Case([cache, update, *given], {"mode": mode, "axis": one_of(rng, axis, axis - cache.ndim)})


@generator("DFT")
def dft(rng, t, version):
    shape = (size(rng, 1, 2), *(size(rng, 2, 6) for _ in range(size(rng, 1, 2))))
    inverse = flag(rng)
    x = numbers(rng, (*shape, 2 if inverse else size(rng, 1, 2)), t["T1"])
    length = np.array(size(rng, 1, 7), t["T2"]) if flag(rng) else None
    axis = one_of(rng, *range(1, len(shape)))
    onesided = flag(rng) if x.shape[-1] == 1 and not inverse else 0
    if version >= 20:
        return Case([x, length, np.array(axis)], {"inverse": inverse, "onesided": onesided})
    return Case([x, np.array(length or shape[axis])], {"inverse": inverse, "onesided": onesided, "axis": axis})


@generator("STFT")
def stft(rng, t, version):
    n, length, frame = size(rng, 1, 2), size(rng, 12, 20), size(rng, 2, 8)
    x = numbers(rng, (n, length, 1), t["T1"])
    window = numbers(rng, frame, t["T1"]) if flag(rng) else None
    frame_length = np.array(frame, t["T2"]) if window is None or flag(rng) else None
    inputs = [x, np.array(size(rng, 1, 4), t["T2"]), window, frame_length]
    while inputs[-1] is None:
        inputs.pop()
    return Case(inputs, some(rng, onesided=flag(rng)))


@generator("MelWeightMatrix")
def mel_weight_matrix(rng, t, version):
    rate = size(rng, 8000, 16000)
    numbers_ = [size(rng, 4, 20), size(rng, 64, 200), rate]
    low = float(rng.uniform(20, 200))
    return Case([*(np.array(i, t["T1"]) for i in numbers_), np.array(low, t["T2"]), np.array(rate / 2.1, t["T2"])])


# --- sequences


def sequence_case(arrays, middle, more=(), dtype=None):
    names = [f"x{i}" for i in range(len(arrays))]
    nodes = [helper.make_node("SequenceConstruct", names, ["s"], name="made"), *middle]
    return Case([*arrays, *more], nodes=nodes, dtypes=[dtype or arrays[0].dtype.name])


@generator("SequenceConstruct", "SequenceAt", "SequenceErase", "SequenceInsert")
def sequences(rng, t, version):
    count = size(rng, 2, 4)
    shape = shape_of(rng)
    arrays = [numbers(rng, shape, t.get("T", "float32")) for _ in range(count)]
    kind = t.get("I", "int64")
    at = np.array(rng.integers(-count + 1, count - 1), kind)
    middle = [
        helper.make_node("SequenceInsert", ["s", "x0", *([f"x{count}"] if flag(rng) else [])], ["t"], name="inserted"),
        helper.make_node("SequenceErase", ["t", *([f"x{count}"] if flag(rng) else [])], ["u"], name="erased"),
        helper.make_node("SequenceAt", ["u", f"x{count}"], ["y0"], name="node"),
    ]
    return sequence_case(arrays, middle, [at])


@generator("SequenceLength")
def sequence_length(rng, t, version):
    arrays = [numbers(rng, shape_of(rng), t.get("T", "float32")) for _ in range(size(rng))]
    return sequence_case(arrays, [helper.make_node("SequenceLength", ["s"], ["y0"])], dtype="int64")


@generator("SequenceEmpty")
def sequence_empty(rng, t, version):
    x = numbers(rng, shape_of(rng), t.get("T", "float32"))
    to = helper.np_dtype_to_tensor_dtype(x.dtype)
    nodes = [
        helper.make_node("SequenceEmpty", [], ["s"], dtype=to),
        helper.make_node("SequenceInsert", ["s", "x0"], ["t"]),
        helper.make_node("SequenceInsert", ["t", "x0"], ["u"]),
        helper.make_node("ConcatFromSequence", ["u"], ["y0"], axis=0),
    ]
    return Case([x], nodes=nodes, dtypes=[x.dtype.name])


@generator("ConcatFromSequence")
def concat_from_sequence(rng, t, version):
    shape = shape_of(rng)
    axis = int(rng.integers(-len(shape), len(shape)))
    stack = {"new_axis": 1} if flag(rng) else {}
    arrays = []
    for _ in range(size(rng)):
        each = list(shape)
        if not stack:
            each[axis] = size(rng)
        arrays.append(numbers(rng, each, t.get("T", "float32")))
    middle = [helper.make_node("ConcatFromSequence", ["s"], ["y0"], axis=axis, **stack)]
    return sequence_case(arrays, middle)


@generator("SplitToSequence")
def split_to_sequence(rng, t, version):
    shape = shape_of(rng, 1, 3)
    x = numbers(rng, shape, t["T"])
    axis = int(rng.integers(-len(shape), len(shape)))
    way = size(rng, 0, 2)
    inputs = [x]
    attributes = some(rng, keepdims=1)
    if way == 1:
        inputs.append(np.array(size(rng, 1, 3), t["I"]))
    elif way == 2:
        first = int(rng.integers(0, shape[axis] + 1))
        inputs.append(np.array([first, shape[axis] - first], t["I"]))
    names = [f"x{i}" for i in range(len(inputs))]
    nodes = [
        helper.make_node("SplitToSequence", names, ["s"], axis=axis, name="node", **attributes),
        helper.make_node("SequenceLength", ["s"], ["y1"]),
        helper.make_node("SequenceAt", ["s", f"x{len(inputs)}"], ["y0"]),
    ]
    return Case([*inputs, np.array(flag(rng) - 1)], outputs=2, nodes=nodes, dtypes=[x.dtype.name, "int64"])


# --- preparation of features


@generator("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(rng, t, version):
    x = numbers(rng, shape_of(rng, 1, 3), t["T"])
    return Case([x, rng.integers(0, x.shape[-1], size(rng)).astype(np.int64)])


@generator("Binarizer", domain=ML)
def binarizer(rng, t, version):
    return Case([numbers(rng, shape_of(rng), t["T"])], some(rng, threshold=float(rng.uniform(-1, 1))))


@generator("Scaler", domain=ML)
def scaler(rng, t, version):
    c = size(rng)
    offset, scale = ([float(v) for v in rng.uniform(0.5, 2, c if flag(rng) else 1)] for _ in range(2))
    if len(offset) != len(scale):
        scale = offset
    return Case([numbers(rng, (size(rng), c), t["T"])], {"offset": offset, "scale": scale})


@generator("Imputer", domain=ML)
def imputer(rng, t, version):
    c = size(rng)
    x = numbers(rng, (size(rng), c), t["T"])
    count = one_of(rng, 1, c)
    if x.dtype.kind == "f":
        missing = one_of(rng, float("nan"), 0.0)
        x[rng.random(x.shape) < 0.3] = missing
        values = [float(v) for v in rng.uniform(0.5, 2, count)]
        return Case([x], {"imputed_value_floats": values, "replaced_value_float": missing})
    values = [int(v) for v in rng.integers(7, 9, count)]
    return Case([x], {"imputed_value_int64s": values, "replaced_value_int64": 1})


@generator("FeatureVectorizer", domain=ML)
def feature_vectorizer(rng, t, version):
    n, widths = size(rng), [size(rng) for _ in range(size(rng, 1, 3))]
    return Case([numbers(rng, (n, w), t["T1"]) for w in widths], {"inputdimensions": widths})


@generator("OneHotEncoder", domain=ML)
def one_hot_encoder(rng, t, version):
    x = numbers(rng, shape_of(rng, 1, 2), t["T"])
    zeros = 1 if (np.asarray(x) > 3).any() or (np.asarray(x) < 0).any() else flag(rng)
    return Case([np.round(x)], {"cats_int64s": [0, 1, 2, 3], "zeros": zeros})


@generator("LabelEncoder", domain=ML)
def label_encoder(rng, t, version):
    kind = np.dtype(t["T1"]).kind
    x = rng.integers(0, 6, shape_of(rng)).astype(t["T1"])
    values = flag(rng)
    keys = {"keys_floats": [float(i) for i in range(4)]} if kind == "f" else {"keys_int64s": list(range(4))}
    given = (
        {"values_floats": [float(v) for v in rng.random(4)], **some(rng, default_float=7.5)}
        if values
        else {"values_int64s": [int(v) for v in rng.integers(0, 9, 4)], **some(rng, default_int64=7)}
    )
    return Case([x], keys | given)
