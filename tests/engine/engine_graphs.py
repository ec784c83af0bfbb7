"""Random graphs over the table: each node is drawn among those that fit the shapes that are there.

Only operators whose result moves little when its inputs do: rounding in float32 must not turn into another answer.
"""

from __future__ import annotations

import random

import numpy as np

from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import evaluate
from fastgru.spec import GRUSpec

MAX_ELEMENTS = 4000


class Drawn:
    """A graph in the making: `values` holds what every name is worth, by the definitions."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.values: dict[str, np.ndarray] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[Node] = []
        self.inputs: list[TensorSpec] = []
        for i in range(rng.randint(1, 3)):
            self.add_input(f"in{i}", self.array(*(rng.choice([1, 2, 3, 5, 17]) for _ in range(rng.randint(0, 4)))))

    def add_input(self, name, array):
        self.values[name] = array
        self.inputs.append(TensorSpec(name, array.dtype.name, (None,) * array.ndim))

    def array(self, *shape):
        return np.random.default_rng(self.rng.getrandbits(32)).uniform(-1, 1, shape).astype(np.float32)

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants[name] = self.values[name] = np.asarray(array)
        return name

    def pick(self, fits=lambda a: True):
        """The name of a floating value that fits, or None."""
        names = [n for n, a in self.values.items() if a.dtype.kind == "f" and fits(a)]
        return self.rng.choice(names) if names else None

    def emit(self, op, inputs, attrs=None, outputs=1):
        names = tuple(f"v{len(self.nodes)}_{i}" for i in range(outputs))
        node = Node(op, tuple(inputs), names, attrs or {})
        arrays = [self.values[n].astype(np.float64) if n and self.values[n].dtype.kind == "f" else
                  self.values[n] if n else None for n in inputs]  # fmt: skip
        results = evaluate(node, arrays)
        if any(a.size > MAX_ELEMENTS or (a.dtype.kind == "f" and np.abs(a).max(initial=0) > 20) for a in results):
            return
        self.nodes.append(node)
        self.values.update(zip(names, results, strict=True))

    def grow(self):
        """One more node, or none where nothing fits the draw."""
        choice = self.rng.choice(sorted(BUILDERS))
        x = self.pick(lambda a: a.ndim >= (0 if choice in ("activation", "binary", "unary", "cast") else 1) and a.size)
        if x is not None:
            BUILDERS[choice](self, x)

    def graph(self):
        made = {name for node in self.nodes for name in node.outputs}
        read = {name for node in self.nodes for name in node.inputs}
        leaves = sorted(made - read) or sorted(made) or [self.inputs[0].name]
        chosen = {*leaves, *self.rng.sample(sorted(made), min(len(made), 2))}
        outputs = tuple(TensorSpec(name, self.values[name].dtype.name, None) for name in sorted(chosen))
        feeds = {spec.name: self.values[spec.name] for spec in self.inputs}
        return Graph(tuple(self.inputs), outputs, tuple(self.nodes), self.constants), feeds


def _axis(d, x):
    ndim = d.values[x].ndim
    return d.rng.randrange(-ndim, ndim)


def _binary(d, x):
    shape = d.values[x].shape
    y = d.pick(lambda a: _broadcasts(a.shape, shape)) or x
    d.emit("binary", (x, y), {"kind": d.rng.choice(["add", "sub", "mul", "min", "max"])})


def _broadcasts(a, b):
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def _linear(d, x):
    K, O = d.values[x].shape[-1], d.rng.choice([1, 3, 16, 33])
    weight, bias = d.constant(d.array(O, K) / np.float32(K)), d.constant(d.array(O))
    d.emit("linear", (x, weight, bias))
    if d.rng.random() < 0.5 and d.nodes and weight in d.nodes[-1].inputs:
        vectors = [d.constant(d.array(O)) for _ in range(3)]
        d.emit("batch_norm", (d.nodes[-1].outputs[0], *vectors, d.constant(np.abs(d.array(O)) + 0.5)),
               {"axis": -1, "epsilon": 1e-3})  # fmt: skip


def _matmul(d, x):
    y = d.pick(lambda a: a.ndim == 2 and a.shape[0] == d.values[x].shape[-1])
    d.emit("matmul", (x, y or d.constant(d.array(d.values[x].shape[-1], 4) / 4)))


def _reshape(d, x):
    d.emit("reshape", (x, d.constant(np.array(d.rng.choice([[-1], [1, -1], [0, -1], [-1, d.values[x].shape[-1]]])))))


def _slice(d, x):
    axis, step = _axis(d, x), d.rng.choice([1, 2, -1, -3])
    bounds = [d.rng.randint(-9, 9), d.rng.randint(-9, 9)]
    start, end = (min(bounds), max(bounds)) if step > 0 else (max(bounds), min(bounds))
    d.emit("slice", (x, *(d.constant(np.array([v])) for v in (start, end, axis, step))))


def _split(d, x):
    axis = _axis(d, x)
    size = d.values[x].shape[axis]
    at = d.rng.randint(0, size)
    d.emit("split", (x,), {"axis": axis, "sizes": [at, size - at]}, outputs=2)


def _transpose(d, x):
    perm = list(range(d.values[x].ndim))
    d.rng.shuffle(perm)
    d.emit("transpose", (x,), {"perm": perm})


def _concat(d, x):
    axis = _axis(d, x)
    shape = list(d.values[x].shape)

    def fits(a):
        return a.ndim == len(shape) and all(
            n == m for i, (n, m) in enumerate(zip(a.shape, shape, strict=True)) if i != axis % len(shape)
        )

    d.emit("concat", (x, d.pick(fits), x), {"axis": axis})


def _gather(d, x):
    axis = _axis(d, x)
    size = d.values[x].shape[axis]
    shape = d.rng.choice([(), (1,), (4,), (2, 3)])
    indices = np.random.default_rng(d.rng.getrandbits(32)).integers(-size, size, shape)
    d.emit("gather", (x, d.constant(indices)), {"axis": axis})


def _where(d, x):
    shape = d.values[x].shape
    condition = np.random.default_rng(d.rng.getrandbits(32)).random(shape[-1:]) < 0.5
    y = d.pick(lambda a: _broadcasts(a.shape, shape))
    d.emit("where", (d.constant(condition), x, y))


def _pad(d, x):
    ndim = d.values[x].ndim
    pads = d.constant(np.array([d.rng.randint(0, 2) for _ in range(2 * ndim)]))
    d.emit("pad", (x, pads), {"mode": d.rng.choice(["constant", "edge"])})


def _tile(d, x):
    d.emit("tile", (x, d.constant(np.array([d.rng.randint(1, 2) for _ in d.values[x].shape]))))


def _gru(d, x):
    if d.values[x].ndim != 3:
        return
    spec = GRUSpec(
        d.values[x].shape[2],
        d.rng.choice([1, 5, 17]),
        d.rng.choice(["forward", "reverse", "bidirectional"]),
        reset_after=d.rng.random() < 0.5,
        batch_first=d.rng.random() < 0.5,
    )
    H, I = spec.hidden_size, spec.input_size
    shapes = [(3 * H, I), (3 * H, H), (3 * H,), (3 * H,)] * spec.num_directions
    names = [d.constant(d.array(*shape) / np.float32(np.sqrt(H))) for shape in shapes]
    d.emit("gru", (x, "", "", "", *names), {"spec": spec.to_dict()}, outputs=2)


def _moves(d, x):
    kind = d.rng.choice(["squeeze", "unsqueeze", "flatten", "expand"])
    if kind == "expand":
        d.emit("expand", (x, d.constant(np.array([2, *(1 for _ in d.values[x].shape)]))))
    elif kind == "flatten":
        d.emit("flatten", (x,), {"axis": _axis(d, x)})
    else:
        d.emit(kind, (x,), {"axes": [] if kind == "squeeze" else [d.rng.randint(0, d.values[x].ndim)]})


BUILDERS = {
    "activation": lambda d, x: d.emit("activation", (x,), {"kind": d.rng.choice(["tanh", "sigmoid", "relu", "elu"])}),
    "binary": _binary,
    "clip": lambda d, x: d.emit("clip", (x, d.constant(np.float32(-0.5)), "")),
    "concat": _concat,
    "cumsum": lambda d, x: d.emit("cumsum", (x,), {"axis": _axis(d, x), "exclusive": False, "reverse": True}),
    "gather": _gather,
    "gru": _gru,
    "layer_norm": lambda d, x: d.emit("layer_norm", (x,), {"axis": _axis(d, x), "epsilon": 0.1}),
    "linear": _linear,
    "matmul": _matmul,
    "moves": _moves,
    "pad": _pad,
    "reduce": lambda d, x: d.emit(
        "reduce",
        (x,),
        {"kind": d.rng.choice(["mean", "sum", "max", "min"]), "axes": [_axis(d, x)], "keepdims": d.rng.random() < 0.5},
    ),
    "reshape": _reshape,
    "slice": _slice,
    "softmax": lambda d, x: d.emit("softmax", (x,), {"axis": _axis(d, x)}),
    "split": _split,
    "tile": _tile,
    "transpose": _transpose,
    "unary": lambda d, x: d.emit("unary", (x,), {"kind": d.rng.choice(["abs", "neg", "exp", "sin", "erf", "silu"])}),
    "where": _where,
}


def draw_graph(rng: random.Random, nodes: int):
    """A graph of about `nodes` nodes, and the arrays to feed it."""
    drawn = Drawn(rng)
    for _ in range(nodes):
        drawn.grow()
    return drawn.graph()
