"""GRU cells as books and exporters write them, inside Loop and Scan."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx_build import make_model

node = helper.make_node
I, H = 3, 4


def info(name, dtype=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, dtype, shape)


class Cell:
    """Nodes of a body from x and h to h2, and the arrays they read."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.arrays, self._count = [], {}, 0

    def weight(self, *shape):
        name = f"w{len(self.arrays)}"
        self.arrays[name] = (0.6 * self.rng.standard_normal(shape)).astype(np.float32)
        return name

    def constant(self, array):
        name = f"w{len(self.arrays)}"
        self.arrays[name] = np.asarray(array)
        return name

    def __call__(self, op, *inputs, outputs=1, to=None, **attrs):
        names = [f"v{self._count + i}" for i in range(outputs)]
        self._count += outputs
        names = [to] if to else names
        self.nodes.append(node(op, list(inputs), names, **attrs))
        return names[0] if outputs == 1 else names

    def dense(self, x, size, *, bias=True, gemm=False):
        width = I if x == "x" else H
        if gemm:
            extra = [self.weight(size)] if bias else []
            return self("Gemm", x, self.weight(size, width), *extra, transB=1)
        y = self("MatMul", x, self.weight(width, size))
        return self("Add", self.weight(size), y) if bias else y


def six_matrices(c, x="x", h="h"):
    """Cho et al.: every gate with matrices of its own, reset before, the update gate keeps."""
    r = c("Sigmoid", c("Add", c.dense(x, H), c.dense(h, H, bias=False)))
    z = c("Sigmoid", c("Add", c.dense(h, H), c.dense(x, H, bias=False)))
    n = c("Tanh", c("Add", c.dense(x, H), c.dense(c("Mul", r, h), H, bias=False)))
    c("Add", c("Mul", z, h), c("Mul", c("Sub", c.constant(np.float32(1)), z), n), to="h2")


def concatenated(c):
    """[h, x] times one matrix a gate, the update gate replaces."""
    hx = c("Concat", "h", "x", axis=1)
    r, z = _gates(c, hx)
    both = c("Concat", c("Mul", r, "h"), "x", axis=-1)
    n = c("Tanh", c("Add", c("MatMul", both, c.weight(H + I, H)), c.weight(H)))
    one = c.constant(np.ones(1, np.float32))
    c("Add", c("Mul", c("Sub", one, z), "h"), c("Mul", z, n), to="h2")


def _gates(c, hx):
    both = c("Sigmoid", c("Add", c("MatMul", hx, c.weight(H + I, 2 * H)), c.weight(2 * H)))
    return c("Split", both, c.constant(np.array([H, H])), outputs=2, axis=1)


def torch_linear(c):
    """Two Linear layers of 3H, chunked, reset after: h' = n + z (h - n)."""
    gx = c("Split", c.dense("x", 3 * H, gemm=True), c.constant(np.array([H] * 3)), outputs=3, axis=1)
    gh = c("Split", c.dense("h", 3 * H, gemm=True), c.constant(np.array([H] * 3)), outputs=3, axis=1)
    r, z = c("Sigmoid", c("Add", gx[0], gh[0])), c("Sigmoid", c("Add", gx[1], gh[1]))
    n = c("Tanh", c("Add", gx[2], c("Mul", r, gh[2])))
    c("Add", n, c("Mul", z, c("Sub", "h", n)), to="h2")


def keras_sliced(c):
    """Keras's z, r, h in one kernel, biases of both kinds, Slice for every part, reset after."""
    gx, gh = c.dense("x", 3 * H), c.dense("h", 3 * H)

    def part(y, k):
        return c("Slice", y, *(c.constant(np.array([v])) for v in (k * H, (k + 1) * H, 1)))

    zr = c("Sigmoid", c("Add", c("Slice", gx, *(c.constant(np.array([v])) for v in (0, 2 * H, 1))),
                        c("Slice", gh, *(c.constant(np.array([v])) for v in (0, 2 * H, 1)))))  # fmt: skip
    z, r = part(zr, 0), part(zr, 1)
    n = c("Tanh", c("Add", c("Mul", part(gh, 2), r), part(gx, 2)))
    c("Add", c("Mul", z, "h"), c("Mul", c("Sub", c.constant(np.float32(1)), z), n), to="h2")


def keras_reset_before(c):
    """tf2onnx's Keras 2 cell: r and z in one product, the candidate's recurrent part apart."""
    gx = c("Split", c.dense("x", 3 * H), c.constant(np.array([H] * 3)), outputs=3, axis=1)
    gh = c("Split", c.dense("h", 2 * H, bias=False), c.constant(np.array([H, H])), outputs=2, axis=1)
    z, r = c("Sigmoid", c("Add", gx[0], gh[0])), c("Sigmoid", c("Add", gx[1], gh[1]))
    n = c("Tanh", c("Add", gx[2], c.dense(c("Mul", r, "h"), H, bias=False)))
    c("Add", c("Mul", c("Sub", c.constant(np.float32(1)), z), n), c("Mul", z, "h"), to="h2")


def hard_and_relu(c):
    """hard_sigmoid as Clip, relu candidates, the update gate replaces."""
    zero, one = c.constant(np.float32(0)), c.constant(np.float32(1))

    def hard(y):
        y = c("Add", c("Mul", y, c.constant(np.float32(0.2))), c.constant(np.float32(0.5)))
        return c("Clip", y, zero, one)

    r, z = (hard(c("Add", c.dense("x", H), c.dense("h", H, bias=False))) for _ in range(2))
    n = c("Relu", c("Add", c.dense("x", H), c.dense(c("Mul", "h", r), H)))
    c("Add", "h", c("Mul", z, c("Sub", n, "h")), to="h2")


def exponentials(c):
    """Sigmoids as 1 / (1 + exp(-x)), split after the exp."""
    one = c.constant(np.float32(1))
    both = c("Add", c("MatMul", c("Concat", "h", "x", axis=1), c.weight(H + I, 2 * H)), c.weight(2 * H))
    grown = c("Split", c("Exp", c("Neg", both)), c.constant(np.array([H, H])), outputs=2, axis=1)
    r, z = (c("Div", one, c("Add", one, g)) for g in grown)
    n = c("Tanh", c("MatMul", c("Concat", c("Mul", r, "h"), "x", axis=1), c.weight(H + I, H)))
    c("Add", c("Mul", c("Sub", one, z), "h"), c("Mul", z, n), to="h2")


def sigmoid_candidate(c):
    """No bias at all, and a candidate squashed by a sigmoid."""
    r, z, n = (c.dense("x", H, bias=False) for _ in range(3))
    r, z = (c("Sigmoid", c("Add", g, c.dense("h", H, bias=False))) for g in (r, z))
    n = c("Sigmoid", c("Add", n, c.dense(c("Mul", r, "h"), H, bias=False)))
    c("Sub", c("Add", c("Mul", z, "h"), n), c("Mul", z, n), to="h2")


def negated(c):
    """z as 1 - sigmoid, sums of three, a factor on the products."""
    gx = c("Mul", c.dense("x", 3 * H), c.constant(np.float32(0.5)))
    gh = c("Neg", c.dense("h", 3 * H))
    parts = [c("Split", g, c.constant(np.array([H] * 3)), outputs=3, axis=-1) for g in (gx, gh)]
    (xr, xz, xn), (hr, hz, hn) = parts
    r = c("Sigmoid", c("Sum", xr, hr, c.weight(H)))
    keep = c("Sub", c.constant(np.float32(1)), c("Sigmoid", c("Sub", xz, hz)))
    n = c("Tanh", c("Add", c("Mul", hn, r), xn))
    c("Add", n, c("Mul", keep, c("Sub", "h", n)), to="h2")


CELLS = (
    six_matrices,
    concatenated,
    torch_linear,
    keras_sliced,
    keras_reset_before,
    hard_and_relu,
    exponentials,
    sigmoid_candidate,
    negated,
)


def scan_model(write, *, T=None, inside=False, behind=(), **attrs):
    """x (T, N, I), h0 (N, H) -> hn, ys by a Scan. inside: weights are initializers of the body."""
    c = Cell()
    write(c)
    extra = [node("Identity", ["h2"], ["y"])] if not behind else list(behind)
    body = helper.make_graph(
        [*c.nodes, *extra],
        "body",
        [info("h"), info("x")],
        [info("h2"), info("y")],
        [numpy_helper.from_array(a, name) for name, a in c.arrays.items()] if inside else [],
    )
    nodes = [node("Scan", ["h0", "xs"], ["hn", "ys"], body=body, num_scan_inputs=1, name="scan", **attrs)]
    axis = attrs.get("scan_input_axes", [0])[0]
    model = make_model(
        nodes,
        {"xs": np.zeros((T or 1, 2, I), np.float32), "h0": np.zeros((2, H), np.float32)},
        ["hn", "ys"],
        {} if inside else c.arrays,
    )
    if T is None:
        _free(model, "xs", axis)
    return model


def _free(model, name, axis):
    for value in model.graph.input:
        if value.name == name:
            value.type.tensor_type.shape.dim[axis].dim_param = "steps"


def loop_model(write, *, T=None, backward=False, counter=False, axis=0):
    """The same by a Loop that gathers x; counter: a while loop over a state that counts, as TensorFlow writes it."""
    c = Cell()
    at = "time" if counter else "iteration"
    if backward:
        c.nodes.append(node("Sub", ["last", "iteration"], ["at"]))
        at = "at"
    c.nodes.append(node("Gather", ["xs", at], ["x"], axis=axis))
    write(c)
    states, outs = [info("h")], [info("h2")]
    if counter:
        c.nodes += [node("Add", ["time", "one"], ["time2"]), node("Less", ["time2", "T"], ["less"]),
                    node("And", ["go", "less"], ["go2"])]  # fmt: skip
        states, outs = [info("time", TensorProto.INT64, []), *states], [info("time2", TensorProto.INT64, []), *outs]
    else:
        c.nodes.append(node("Identity", ["go"], ["go2"]))
    body = helper.make_graph(
        [*c.nodes, node("Identity", ["h2"], ["y"])],
        "body",
        [info("iteration", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), *states],
        [info("go2", TensorProto.BOOL, []), *outs, info("y")],
    )
    arrays = {**c.arrays, "axis": np.array(axis), "zero": np.array(0), "one": np.array(1), "true": np.array(True)}
    if backward:
        arrays["last"] = np.array(T - 1)
    head = [node("Shape", ["xs"], ["shape"]), node("Gather", ["shape", "axis"], ["T"], axis=0)]
    if counter:
        arrays["huge"] = np.array(np.iinfo(np.int64).max)
        head.append(node("Less", ["zero", "T"], ["go0"]))
        loop = node("Loop", ["huge", "go0", "zero", "h0"], ["count", "hn", "ys"], body=body, name="loop")
    else:
        loop = node("Loop", ["T", "true", "h0"], ["hn", "ys"], body=body, name="loop")
    used = {name for n in (*head, loop, *body.node) for name in n.input}
    x = np.zeros((T or 1, 2, I) if axis == 0 else (2, T or 1, I), np.float32)
    model = make_model(
        [*head, loop],
        {"xs": x, "h0": np.zeros((2, H), np.float32)},
        ["hn", "ys"],
        {k: a for k, a in arrays.items() if k in used},
    )
    if T is None:
        _free(model, "xs", axis)
    return model
