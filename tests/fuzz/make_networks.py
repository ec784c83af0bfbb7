"""Products, norms, recurrences, transforms: the layers of networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_builder import Builder, RejectError, Size
from graph_registry import generates
from make_windows import spatial, weight


def fixed(n: int) -> Size:
    return n, n


@generates("MatMul")
def matmul(b: Builder, op: str) -> object:
    # ONNX Runtime leaves the sums of nothing as it finds them.
    a = b.value(ranks=(1, 4), where=lambda v: v.sizes[-1][0] == v.sizes[-1][1] > 0)
    k, n = a.sizes[-1][0], b.pick([1, 2, 3, 5, 8, 17, 33])
    if b.chance(0.5) or a.rank == 1:
        return b.add(op, [a, weight(b, k, n) if b.chance(0.8) else weight(b, k)])
    lead = [s if b.chance(0.7) else (1, 1) for s in a.sizes[:-2]][b.integer(0, max(0, a.rank - 2)) :]
    found = [v for v in b.pool if v.dtype == a.dtype and v.rank >= 2 and v.sizes[-2] == a.sizes[-1]]
    other = b.pick(found) if found and b.chance(0.3) else b.fresh([*lead, fixed(k), fixed(n)], a.dtype, -1, 1)
    return b.add(op, [a, other] if b.chance(0.9) else [other, a])


@generates("Gemm")
def gemm(b: Builder, op: str) -> object:
    # ONNX Runtime forgets beta where there is nothing to sum.
    a = b.value(ranks=(2, 2), where=lambda v: any(n == m for n, m in v.sizes) and all(x.size for x in v.arrays))
    turn = b.pick([i for i, (n, m) in enumerate(a.sizes) if n == m]) == 0
    k, rows, n = a.sizes[0 if turn else 1][0], a.sizes[1 if turn else 0], b.pick([1, 2, 3, 7, 16, 19])
    turned = b.chance(0.5)
    shape = (n, k) if turned else (k, n)
    right = weight(b, *shape, scale=0.7) if b.chance(0.7) else b.fresh([fixed(s) for s in shape], a.dtype, -1, 1)
    addend: Any = None
    if b.chance(0.7) or b.version(op) < 11:
        sizes = b.pick([[fixed(n)], [], [fixed(1)], [fixed(1), fixed(n)], [rows, fixed(n)], [rows, fixed(1)]])
        addend = b.fresh(sizes, a.dtype)
    return b.add(op, [a, right, addend], transA=int(turn) or None, transB=int(turned) or None,
                 alpha=b.pick([None, 0.5, 1.0, 2.0]), beta=b.pick([None, 0.5, 1.0, 0.0]))  # fmt: skip


@generates("Einsum")
def einsum(b: Builder, op: str) -> object:
    sizes = {c: b.size() for c in "abcde"}
    forms = ["ab,bc->ac", "abc,cd->abd", "ab,ab->a", "ab->ba", "abc,abd->acd", "ab->", "a,b->ab", "abc,bd->acd",
             "...ab,...bc->...ac", "abcd,aecd->abe", "ab,bc", "abc->b", "ab,bc,cd->ad", "aab->ab", "aa->a",
             "... c , c -> ...", "abcd,ce->abed", "ab,cb->ac"]  # fmt: skip
    equation = b.pick(forms)
    terms = equation.split("->")[0].replace(" ", "").split(",")
    lead = [b.size()] if b.chance(0.5) else []
    operands = []
    for term in terms:
        wanted = [*(lead if "..." in term else []), *(sizes[c] for c in term.replace(".", ""))]
        operands.append(b.value(sizes=wanted, ranks=(0, 6), low=-3, high=3))
    if any(a.size == 0 for v in operands for a in v.arrays):
        raise RejectError("nothing to sum, which ONNX Runtime does not survive")
    return b.add(op, operands, equation=equation)


@generates("Softmax", "LogSoftmax")
def softmax(b: Builder, op: str) -> object:
    x = b.value(
        ranks=(1 if b.version(op) >= 13 else 2, 4), where=lambda v: all(a.size for a in v.arrays), low=-20, high=20
    )
    return b.add(op, [x], axis=b.pick([None, b.axis(x.rank, x.rank)]))


@generates("LayerNormalization", "RMSNormalization")
def layer_norm(b: Builder, op: str) -> object:
    x = b.value(ranks=(1, 4), where=lambda v: v.sizes[-1][0] == v.sizes[-1][1] and v.sizes[-1][0] > 2)
    axis = x.rank - 1
    while axis and x.sizes[axis - 1][0] == x.sizes[axis - 1][1] and b.chance(0.3):
        axis -= 1
    shape = [n for n, _ in x.sizes[axis:]]
    if b.chance(0.2):
        shape = shape[-1:]
    named = axis - x.rank if b.chance(0.5) else axis
    operands = [x, weight(b, *shape, scale=2.0)]
    epsilon = b.pick([None, 1e-3, 1e-2])
    if op == "RMSNormalization":
        return b.add(op, operands, axis=named, epsilon=epsilon)
    if b.chance(0.6):
        operands.append(weight(b, *shape, scale=1.0))
    outputs = b.pick([1, 1, 1, 3])
    return b.add(op, operands, outputs, axis=named if axis != x.rank - 1 or b.chance(0.6) else None, epsilon=epsilon)


@generates("BatchNormalization")
def batch_norm(b: Builder, op: str) -> object:
    x = b.value(ranks=(2, 5), where=lambda v: v.sizes[1][0] == v.sizes[1][1])
    channels = x.sizes[1][0]
    statistics = [weight(b, channels, scale=1.5) for _ in range(3)]
    variance = b.constant(b.filled((channels,), b.float, 0.1, 2.0, False))
    return b.add(op, [x, *statistics, variance], epsilon=b.pick([None, 1e-3]))


@generates("InstanceNormalization", "GroupNormalization")
def group_norm(b: Builder, op: str) -> object:
    x = spatial(b, b.integer(1, 2), least=3)
    channels = x.sizes[1][0]
    groups = b.pick([g for g in range(1, channels + 1) if channels % g == 0]) if op == "GroupNormalization" else None
    for a in (a for a in x.arrays if a.size):
        members = a.reshape(a.shape[0], groups or channels, -1)
        if (members.var(-1) < 1e-4 * np.square(members).mean(-1)).any():
            raise RejectError(f"{op}: groups that hardly vary, whose variance ONNX Runtime takes as a difference")
    count = groups if groups and b.version(op) < 21 else channels
    return b.add(op, [x, weight(b, count, scale=1.5), weight(b, count, scale=1.0)], num_groups=groups,
                 epsilon=b.pick([None, 1e-2]))  # fmt: skip


@generates("LpNormalization")
def lp_norm(b: Builder, op: str) -> object:
    """Of a vector that is no rounding error: its direction is nobody's promise."""
    x = b.value(ranks=(1, 4), where=lambda v: all(a.size for a in v.arrays))
    axis = b.pick([None, b.axis(x.rank, x.rank)])
    if any(0 < n < 0.05 for a in x.arrays for n in np.abs(a).sum(axis=-1 if axis is None else axis).ravel()):
        raise RejectError("too short a vector")
    return b.add(op, [x], axis=axis, p=b.pick([None, 1, 2]))


@generates("MeanVarianceNormalization")
def mvn(b: Builder, op: str) -> object:
    x = spatial(b, 2, least=3)
    if b.float != np.float32:
        raise RejectError("ONNX's own definition adds a float32")
    return b.add(op, [x], axes=b.pick([None, [0, 2, 3], [2, 3], [-1, -2]]))


ONE_STEP = ["Tanh", "Sigmoid", "Relu", "Softsign", "HardSigmoid", "Affine", "LeakyRelu", "Elu"]


@generates("GRU", "LSTM", "RNN")
def recurrent(b: Builder, op: str) -> object:
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[op]
    x = b.value(
        ranks=(3, 3),
        where=lambda v: v.sizes[2][0] == v.sizes[2][1] and v.sizes[2][0] > 0 and all(a.size for a in v.arrays),
    )
    H = b.pick([1, 2, 3, 4, 5, 8, 15, 16, 17, 24])
    direction = b.pick([None, "forward", "reverse", "bidirectional"])
    D = 2 if direction == "bidirectional" else 1
    layout = b.integer(0, 1) if b.version(op) >= 14 and b.chance(0.4) else 0
    times, batch = x.sizes[:2] if layout == 0 else x.sizes[1::-1]
    width = x.sizes[2]
    state = [batch, fixed(D), fixed(H)] if layout else [fixed(D), batch, fixed(H)]
    operands: list[Any] = [
        x, weight(b, D, gates * H, width[0], scale=min(1.0, 2 / np.sqrt(width[0]))),
        weight(b, D, gates * H, H, scale=min(1.0, 1.5 / np.sqrt(H))),
        weight(b, D, 2 * gates * H, scale=0.5) if b.chance(0.7) else None,
        b.fresh([batch], np.int32, 1, min(times)) if b.chance(0.3) else None,
        b.fresh(state, x.dtype, -1, 1) if b.chance(0.5) else None,
    ]  # fmt: skip
    attrs: dict[str, Any] = {"hidden_size": H, "direction": direction, "layout": layout or None}
    if op == "GRU" and b.chance(0.6):
        attrs["linear_before_reset"] = b.integer(0, 1)
    if op == "LSTM":
        operands.append(b.fresh(state, x.dtype, -1, 1) if b.chance(0.5) else None)
        operands.append(weight(b, D, 3 * H, scale=0.5) if b.chance(0.3) else None)
        if b.chance(0.15):
            attrs["input_forget"] = 1
    if b.chance(0.25):
        number = {"GRU": 2, "LSTM": 3, "RNN": 1}[op]
        names = [str(b.pick(ONE_STEP[:4])) for _ in range(number)]
        attrs["activations"] = names * D
    if b.chance(0.15):
        attrs["clip"] = 1.5
    return b.add(op, operands, b.integer(1, 3 if op == "LSTM" else 2), **attrs)


@generates("DFT")
def dft(b: Builder, op: str) -> object:
    x = (
        b.value(
            ranks=(3, 4),
            where=lambda v: v.sizes[-1] in ((1, 1), (2, 2)) and all(n == m and n > 0 for n, m in v.sizes[1:-1]),
            reuse=0.3,
        )
        if b.chance(0.5)
        else b.fresh([b.size(), fixed(b.integer(1, 17)), fixed(b.integer(1, 2))])
    )
    axis = b.integer(1, x.rank - 2)
    size, complex_ = x.sizes[axis][0], x.sizes[-1][0] == 2
    length = b.ints(b.integer(1, size + 3)) if b.chance(0.3) else None
    onesided = int(not complex_ and b.chance(0.5))
    inverse = int(not onesided and complex_ and b.chance(0.4))
    attrs = {"onesided": onesided or None, "inverse": inverse or None}
    if b.version(op) < 20:
        return b.add(op, [x, length], axis=axis, **attrs)
    return b.add(op, [x, length, b.ints(b.axis([axis], x.rank))], **attrs)


@generates("STFT")
def stft(b: Builder, op: str) -> object:
    L = b.integer(16, 48)
    x = b.fresh([b.size(), fixed(L), fixed(1)])
    frame, step = b.integer(2, 12), b.integer(1, 6)
    window = weight(b, frame, scale=1.0) if b.chance(0.7) else None
    length = b.ints(frame) if window is None or b.chance(0.5) else None
    return b.add(op, [x, b.ints(step), window, length], onesided=b.pick([None, 0, 1]))


@generates("MelWeightMatrix")
def mel(b: Builder, op: str) -> object:
    low, high = (b.constant(np.array(v, np.float32)) for v in (b.pick([0.0, 20.0]), b.pick([3000.0, 4000.0])))
    return b.add(op, [b.ints(b.integer(1, 8)), b.ints(b.pick([16, 32, 64])), b.ints(8000), low, high])


@generates("BlackmanWindow", "HammingWindow", "HannWindow")
def window(b: Builder, op: str) -> object:
    return b.add(op, [b.ints(b.integer(2, 20))], periodic=b.pick([None, 0, 1]))


@generates("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(b: Builder, op: str) -> object:
    x = b.value(ranks=(2, 4), low=-20, high=20,
                where=lambda v: v.sizes[1][0] == v.sizes[1][1] and all(a.size for a in v.arrays))  # fmt: skip
    classes = x.sizes[1][0]
    target = b.fresh([x.sizes[0], *x.sizes[2:]], b.pick([np.int64, np.int32]), 0, classes - 1)
    weights = b.constant(b.filled((classes,), b.float, 0.2, 1.0, False)) if b.chance(0.5) else None
    attrs = {"reduction": b.pick([None, "mean", "sum", "none"]), "ignore_index": b.pick([None, None, 0])}
    outputs = 2 if op == "SoftmaxCrossEntropyLoss" and b.chance(0.4) else 1
    return b.add(op, [x, target, weights], outputs, **attrs)


@generates("RotaryEmbedding")
def rotary(b: Builder, op: str) -> object:
    heads, width = b.integer(1, 3), 2 * b.integer(1, 4)
    batch, time = b.size(), fixed(b.integer(1, 5))
    if 0 in batch:
        raise RejectError("ONNX's own definition infers a size from nothing")
    three = b.chance(0.5)
    x = b.fresh([batch, time, fixed(heads * width)] if three else [batch, fixed(heads), time, fixed(width)])
    with_ids = b.chance(0.5)
    lead = [fixed(7)] if with_ids else [batch, time]
    caches = [b.fresh([*lead, fixed(width // 2)]) for _ in range(2)]
    ids = b.fresh([batch, time], np.int64, 0, 6) if with_ids else None
    return b.add(op, [x, *caches, ids], interleaved=b.pick([None, 0, 1]), num_heads=heads if three else None)


@generates("Attention")
def attention(b: Builder, op: str) -> object:
    heads, width, batch = b.integer(1, 3), b.integer(1, 5), b.size()
    rows, columns = fixed(b.integer(1, 5)), fixed(b.integer(1, 5))
    if b.chance(0.5):
        sizes = [[batch, fixed(heads), n, fixed(width)] for n in (rows, columns, columns)]
        attrs: dict[str, Any] = {}
    else:
        sizes = [[batch, n, fixed(heads * width)] for n in (rows, columns, columns)]
        attrs = {"q_num_heads": heads, "kv_num_heads": heads}
    if b.chance(0.3):
        attrs["is_causal"] = 1
    if b.chance(0.3):
        attrs["scale"] = 0.5
    mask = b.fresh([rows, columns]) if b.chance(0.4) else None
    return b.add(op, [*(b.fresh(s) for s in sizes), mask], **attrs)
