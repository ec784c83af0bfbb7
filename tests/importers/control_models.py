"""Recurrent cells that are no GRUs, as people write them, inside Loop and Scan."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node
I, H, V = 3, 4, 11
DTYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


class Body:
    """Nodes of a body, and the arrays they read. states, steps: {name: shape without time}; memory: of the model."""

    def __init__(self, seed=0):
        self.rng, self.nodes, self.arrays, self._count = np.random.default_rng(seed), [], {}, 0
        self.states, self.steps, self.memory, self.rows = {"h": ("N", H)}, {"x": ("N", I)}, {}, ["h2"]

    def weight(self, *shape, scale=0.6):
        return self.constant((scale * self.rng.standard_normal(shape)).astype(np.float32))

    def constant(self, array):
        name = f"w{len(self.arrays)}"
        self.arrays[name] = np.asarray(array)
        return name

    def __call__(self, op, *inputs, outputs=1, to=None, **attrs):
        names = [to] if to else [f"v{self._count + i}" for i in range(outputs)]
        self._count += outputs
        self.nodes.append(node(op, list(inputs), names, **attrs))
        return names[0] if outputs == 1 else names

    def dense(self, x, width, size):
        return self("Add", self("MatMul", x, self.weight(width, size)), self.weight(size))

    def mixed(self, z, a, b, to=None):
        """(1 - z) a + z b."""
        one = self.constant(np.float32(1))
        return self("Add", self("Mul", self("Sub", one, z), a), self("Mul", z, b), to=to)

    def gru(self, x, width, h="h", to="h2"):
        xh = self("Concat", x, h, axis=-1)
        r, z = (self("Sigmoid", self.dense(xh, width + H, H)) for _ in range(2))
        n = self("Tanh", self.dense(self("Concat", x, self("Mul", r, h), axis=-1), width + H, H))
        return self.mixed(z, h, n, to=to)


def attention_gru(c):
    """A GRU over x and what attention finds in a memory of any length."""
    c.memory = {"memory": ("N", "S", H)}
    query = c("Unsqueeze", c.dense("h", H, H), c.constant(np.array([1])))
    scores = c("MatMul", query, c("Transpose", "memory", perm=[0, 2, 1]))
    found = c("MatMul", c("Softmax", scores, axis=-1), "memory")
    context = c("Squeeze", found, c.constant(np.array([1])))
    c.gru(c("Concat", "x", context, axis=-1), I + H)


def layer_norm_gru(c):
    """A GRU whose gates are normalised before the activation."""

    def normed(y, width):
        return c("LayerNormalization", y, c.weight(width), c.weight(width), axis=-1)

    gx, gh = normed(c.dense("x", I, 3 * H), 3 * H), normed(c.dense("h", H, 3 * H), 3 * H)
    sizes = c.constant(np.array([H] * 3))
    (xr, xz, xn), (hr, hz, hn) = (c("Split", g, sizes, outputs=3, axis=-1) for g in (gx, gh))
    r, z = c("Sigmoid", c("Add", xr, hr)), c("Sigmoid", c("Add", xz, hz))
    c.mixed(z, c("Tanh", c("Add", xn, c("Mul", r, hn))), "h", to="h2")


def conv_gru(c):
    """A GRU whose products are convolutions over images."""
    c.states, c.steps = {"h": ("N", H, 5, 6)}, {"x": ("N", I, 5, 6)}

    def conv(y, width):
        return c("Conv", y, c.weight(H, width, 3, 3, scale=0.2), c.weight(H), pads=[1] * 4)

    xh = c("Concat", "x", "h", axis=1)
    r, z = (c("Sigmoid", conv(xh, I + H)) for _ in range(2))
    n = c("Tanh", conv(c("Concat", "x", c("Mul", r, "h"), axis=1), I + H))
    c.mixed(z, "h", n, to="h2")


def gru_d(c):
    """Missing values decay to a mean, and the state with the time since they were seen."""
    c.steps = {"x": ("N", I), "mask": ("N", I), "delta": ("N", I)}
    c.states = {"h": ("N", H), "seen": ("N", I)}

    def decay(width):
        rate = c("Relu", c.dense("delta", I, width))
        return c("Exp", c("Neg", rate))

    gone = c.mixed(decay(I), c.weight(I), "seen")
    filled = c.mixed("mask", gone, "x")
    c("Identity", c.mixed("mask", "seen", "x"), to="seen2")
    h = c("Mul", decay(H), "h")
    c.gru(c("Concat", filled, "mask", axis=-1), 2 * I, h)


def minimal_gated_unit(c):
    """One gate for both."""
    f = c("Sigmoid", c.dense(c("Concat", "x", "h", axis=-1), I + H, H))
    n = c("Tanh", c.dense(c("Concat", "x", c("Mul", f, "h"), axis=-1), I + H, H))
    c.mixed(f, "h", n, to="h2")


def light_gru(c):
    """No reset gate, rectified candidates, a normalisation of what comes in."""

    def normed(y):
        return c("BatchNormalization", y, *(c.weight(H) for _ in range(3)), c.constant(np.full(H, 1.5, np.float32)))

    def gate():
        x, h = c("MatMul", "x", c.weight(I, H)), c("MatMul", "h", c.weight(H, H))
        return c("Add", normed(x), h)

    z, n = c("Sigmoid", gate()), c("Relu", gate())
    c.mixed(z, n, "h", to="h2")


CELLS = (attention_gru, layer_norm_gru, conv_gru, gru_d, minimal_gated_unit, light_gru)


def built(write, seed=0):
    body = Body(seed)
    write(body)
    return body


def info(name, shape=None, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model_of(nodes, body, outputs, opset=18):
    inputs = [
        *(info(f"{name}s", ("T", *shape)) for name, shape in body.steps.items()),
        *(info(f"{name}_in", shape) for name, shape in body.states.items()),
        *(info(name, shape) for name, shape in body.memory.items()),
    ]
    arrays = [numpy_helper.from_array(a, name) for name, a in body.arrays.items()]
    graph = helper.make_graph(nodes, "g", inputs, [info(name) for name in outputs], arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def ends_of(body):
    """The outputs of the model: the last states, then what is stacked."""
    return [*(f"{name}_out" for name in body.states), "ys"]


def scan_of(write, seed=0):
    """One Scan over the steps."""
    body = built(write, seed)
    inputs = [info(name) for name in (*body.states, *body.steps)]
    body("Identity", "h2", to="y")
    ends = [info(f"{name}2") for name in body.states]
    graph = helper.make_graph(body.nodes, "body", inputs, [*ends, info("y")])
    given = [*(f"{name}_in" for name in body.states), *(f"{name}s" for name in body.steps)]
    scan = node("Scan", given, ends_of(body), "scan", body=graph, num_scan_inputs=len(body.steps))
    return model_of([scan], body, ends_of(body)), body


def loop_of(write, seed=0):
    """One Loop that takes each step by its number."""
    body = built(write, seed)
    for name in reversed(body.steps):
        body.nodes.insert(0, node("Gather", [f"{name}s", "i"], [name], axis=0))
    body("Identity", "h2", to="y")
    body("Identity", "going", to="going2")
    inputs = [info("i", (), TensorProto.INT64), info("going", (), TensorProto.BOOL), *(info(n) for n in body.states)]
    ends = [info("going2", (), TensorProto.BOOL), *(info(f"{name}2") for name in body.states)]
    graph = helper.make_graph(body.nodes, "body", inputs, [*ends, info("y")])
    count = [
        node("Shape", [f"{next(iter(body.steps))}s"], ["shape"], start=0, end=1),
        node("Constant", [], ["true"], value=numpy_helper.from_array(np.array(True))),
    ]
    loop = node("Loop", ["shape", "true", *(f"{n}_in" for n in body.states)], ends_of(body), "loop", body=graph)
    return model_of([*count, loop], body, ends_of(body)), body


def feeds_of(body, T=5, N=2, S=7, seed=1):
    rng, sizes = np.random.default_rng(seed), {"T": T, "N": N, "S": S}

    def drawn(shape):
        return rng.standard_normal([sizes.get(n, n) for n in shape]).astype(np.float32)

    feeds = {f"{name}s": drawn(("T", *shape)) for name, shape in body.steps.items()}
    feeds |= {f"{name}_in": 0.5 * drawn(shape) for name, shape in body.states.items()}
    feeds |= {name: drawn(shape) for name, shape in body.memory.items()}
    if "masks" in feeds:
        feeds["masks"] = (feeds["masks"] > 0).astype(np.float32)
        feeds["deltas"] = abs(feeds["deltas"])
    return feeds


def decoder(steps=20, stop=3, seed=0):
    """Greedy: each choice is the next input, until the token `stop` comes."""
    body = Body(seed)
    x = body("Gather", body.weight(V, I, scale=1.5), "token", axis=0)
    body.gru(x, I)
    logits = body.dense("h2", H, V)
    body("ArgMax", logits, to="token2", axis=-1, keepdims=0)
    body("Identity", "token2", to="y")
    body("Identity", logits, to="scores")
    here = body("Equal", "token2", body.constant(np.array([stop])))
    body("Not", body("Squeeze", here, body.constant(np.array([0]))), to="going2")
    inputs = [info("i", (), TensorProto.INT64), info("going", (), TensorProto.BOOL), info("h"),
              info("token", None, TensorProto.INT64)]  # fmt: skip
    ends = [info("going2", (), TensorProto.BOOL), info("h2"), info("token2", None, TensorProto.INT64),
            info("y", None, TensorProto.INT64), info("scores")]  # fmt: skip
    graph = helper.make_graph(body.nodes, "body", inputs, ends)
    arrays = {**body.arrays, "first": np.array([1]), "true": np.array(True), "steps": np.array(steps)}
    loop = node("Loop", ["steps", "true", "h0", "first"], ["hn", "last", "tokens", "logits"], "decoder", body=graph)
    whole = helper.make_graph(
        [loop],
        "g",
        [info("h0", (1, H))],
        [info("hn", (1, H)), info("last", (1,), TensorProto.INT64), info("tokens", ("L", 1), TensorProto.INT64),
         info("logits", ("L", 1, V))],
        [numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )  # fmt: skip
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
