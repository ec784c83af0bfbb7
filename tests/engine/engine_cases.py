"""Cases for every operator of the table, and the way to run one: the engine against the definition in float64.

A case is written once; `test_ops`, and `level_worker` on every level, run it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from fastgru.engine import Executable
from fastgru.graph import Graph, Node, Subgraph, TensorSpec
from fastgru.reference import run_graph

TOLERANCES = {"float32": 1e-6, "float64": 1e-12}


@dataclass(frozen=True)
class Case:
    """One node. `constant` lists the inputs that are constants of the graph; `slack` multiplies the tolerance.

    Floating-point inputs hold float32 values, so that both precisions start from the same numbers.
    """

    op: str
    inputs: tuple
    attrs: dict = field(default_factory=dict)
    constant: tuple = ()
    slack: float = 1.0

    def __str__(self) -> str:
        shapes = ",".join("-" if a is None else f"{a.dtype}{list(a.shape)}" for a in self.inputs).replace(" ", "")
        attrs = ",".join(f"{k}={v}" for k, v in self.attrs.items()).replace(" ", "")
        return f"{self.op}({attrs})({shapes}){list(self.constant) if self.constant else ''}"

    def graph(self, outputs: int = 1) -> tuple[Graph, dict]:
        names = tuple("" if a is None else f"x{i}" for i, a in enumerate(self.inputs))
        constants = {names[i]: self.inputs[i] for i in self.constant}
        feeds = {n: a for n, a in zip(names, self.inputs, strict=True) if n and n not in constants}
        specs = tuple(TensorSpec(n, a.dtype.name, (None,) * a.ndim) for n, a in feeds.items())
        results = tuple(f"y{i}" for i in range(outputs))
        node = Node(self.op, names, results, self.attrs)
        return Graph(specs, tuple(TensorSpec(r, "float32", None) for r in results), (node,), constants), feeds


def agree(graph: Graph, feeds: dict, precision: str, slack: float = 1.0) -> dict:
    """The engine's outputs, after they have been held against the definition's."""
    wanted = run_graph(graph, feeds)
    with np.errstate(over="ignore"):  # what overflows in float32 is infinite there
        wanted = {k: a.astype(precision) if a.dtype.kind == "f" else a for k, a in wanted.items()}
    got = Executable(graph, precision=precision).run(feeds)
    tolerance = TOLERANCES[precision] * slack
    assert list(got) == list(wanted)
    for name, want in wanted.items():
        assert got[name].shape == want.shape
        assert got[name].dtype == want.dtype
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got[name], want, rtol=tolerance, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], want, err_msg=name)
    return got


_random = np.random.default_rng(20240613)


def normal(*shape):
    return _random.standard_normal(shape).astype(np.float32)


def bools(*shape):
    return _random.random(shape) < 0.5


def whole(dtype, *shape, low=-9, high=9):
    low = 0 if dtype.startswith("u") else low
    return _random.integers(low, high, shape).astype(dtype)


def i64(*values):
    return np.array(values, np.int64)


SPECIAL = np.array(
    [-np.inf, -1e30, -100, -3, -1.5, -0.5, -0.0, 0, 0.5, 1.5, 2.5, 3, 88, 100, 1e30, np.inf, np.nan] * 2, np.float32
)
SHAPES = [(), (0,), (1,), (3,), (17,), (2, 5), (3, 0, 2), (2, 3, 17)]
PAIRS = [
    ((), ()), ((), (4,)), ((2, 3), (3,)), ((2, 1), (1, 5)), ((4, 1, 7), (3, 1)), ((0, 3), (3,)),
    ((2, 3, 17), (2, 1, 17)), ((2, 3, 17), (3, 1)), ((33,), (33,)), ((2, 1, 3, 1, 2, 1, 2), (2, 1, 3, 1, 2, 1)),
]  # fmt: skip
INTEGERS = ("int64", "int32", "int16", "int8", "uint16", "uint8")
UNARY = [
    "abs", "neg", "sign", "sqrt", "reciprocal", "floor", "ceil", "round", "exp", "silu", "gelu_tanh",
    "hard_swish", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "erf", "log1p", "expm1",
    "gelu", "isnan", "isinf",
]  # fmt: skip
COMPARE = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
REDUCE = ("sum", "mean", "max", "min", "prod", "l1", "l2", "log_sum", "log_sum_exp", "sum_square")


def elementwise():
    for kind in UNARY:
        for shape in SHAPES:
            yield Case("unary", (normal(*shape),), {"kind": kind})
        if kind not in ("sin", "cos", "tan"):
            yield Case("unary", (SPECIAL,), {"kind": kind})
    for x in (normal(5, 7), SPECIAL):
        yield Case("unary", (x,), {"kind": "selu", "alpha": 1.6, "gamma": 1.05})
    yield Case("unary", (bools(3, 4),), {"kind": "not"})
    yield Case("unary", (bools(3, 4),), {"kind": "abs"})
    for kind, (a, b) in itertools.product(("add", "sub", "mul", "div", "min", "max"), PAIRS):
        yield Case("binary", (normal(*a), normal(*b)), {"kind": kind})
    for kind in ("add", "div", "min", "max"):
        yield Case("binary", (SPECIAL, normal(SPECIAL.size)), {"kind": kind})
        yield Case("binary", (normal(SPECIAL.size), SPECIAL), {"kind": kind}, constant=(1,))
    for a, b in PAIRS:
        yield Case("binary", (np.abs(normal(*a)), normal(*b)), {"kind": "pow"}, slack=4)
        yield Case("where", (bools(*a), normal(*b), normal(*a)))
        yield Case("logical", (bools(*a), bools(*b)), {"kind": "xor"})
        for kind in COMPARE:
            yield Case("compare", (normal(*a).round(), normal(*b).round()), {"kind": kind})
        if np.broadcast_shapes(a, b) == a:
            yield Case("prelu", (normal(*a), normal(*b)))
    signs = np.array([[7, -7, 7, -7, 6, -6], [3, 3, -3, -3, 3, -3]], np.float32)
    for kind in ("mod", "fmod"):
        yield Case("binary", (signs[0] / 2, signs[1] / 2), {"kind": kind})
    yield Case("binary", (whole("int64", 5, low=1), np.abs(normal(5))), {"kind": "pow"})
    yield Case("binary", (normal(4), whole("int32", 4)), {"kind": "pow"}, slack=40)
    yield Case("binary", (whole("int32", 4), whole("int64", 4, low=0, high=5)), {"kind": "pow"})
    for kind in ("and", "or"):
        yield Case("logical", (bools(4, 9), bools(9)), {"kind": kind})
    for kind in COMPARE:
        yield Case("compare", (SPECIAL, np.roll(SPECIAL, 1)), {"kind": kind})
        yield Case("compare", (bools(7), bools(7)), {"kind": kind})
    yield Case("prelu", (SPECIAL, normal(1)))
    for dtype in INTEGERS:
        divisor = whole(dtype, 5)
        divisor[divisor == 0] = 3
        for kind in ("abs", "neg", "sign", "bitwise_not"):
            yield Case("unary", (whole(dtype, 3, 5),), {"kind": kind})
        for kind in ("add", "sub", "mul", "min", "max"):
            yield Case("binary", (whole(dtype, 3, 5, low=-120, high=120), whole(dtype, 5)), {"kind": kind})
        for kind in ("div", "mod", "fmod"):
            yield Case("binary", (whole(dtype, 3, 5), divisor), {"kind": kind})
        yield Case("compare", (whole(dtype, 3, 5), whole(dtype, 5)), {"kind": "less"})
        yield Case("where", (bools(3, 1), whole(dtype, 5), whole(dtype, 3, 5)))
        yield Case("clip", (whole(dtype, 3, 5), np.array(2, dtype), np.array([5], dtype)))
    for low, high in ((-1.0, 1.0), (None, 0.5), (0.5, None), (2.0, 1.0), (np.nan, None), (None, np.nan)):
        bounds = tuple(None if b is None else np.array(b, np.float32) for b in (low, high))
        yield Case("clip", (SPECIAL, *bounds))
    names = ("float32", "float64", *INTEGERS, "bool")
    for source, target in itertools.product(names, (*names, "float16", "bfloat16")):
        yield Case("cast", (whole("int64", 3, 7, low=0, high=99).astype(source),), {"to": target})
    yield Case("cast", (normal(9) * 50,), {"to": "int8"})
    yield Case("cast", (SPECIAL[6:12],), {"to": "bool"})


def weights(*shape):
    """Of the size that training leaves: a product of normal rows with them is about normal."""
    return normal(*shape) / np.float32(np.sqrt(max(shape[-2:][0], 1)))


def products():
    shapes = [
        ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 6)), ((3, 0), (0, 5)), ((0, 4), (4, 5)), ((3, 4), (4, 0)), ((2, 7, 300), (300, 33)),
        ((5, 2, 7, 30), (5, 1, 30, 17)), ((3, 4), (6, 4, 5)), ((1, 1), (1, 1)), ((26, 9), (9, 70)),
    ]  # fmt: skip
    for (a, b), constant in itertools.product(shapes, ((), (1,), (0,))):
        yield Case("matmul", (normal(*a), weights(*b)), constant=constant, slack=3)
    for (a, b), constant in itertools.product([s for s in shapes if len(s[1]) == 2], ((), (1, 2))):
        weight = weights(*b).T.copy()
        yield Case("linear", (normal(*a), weight, normal(b[1])), constant=constant, slack=3)
        yield Case("linear", (normal(*a), weight), constant=constant[:1], slack=3)


def reductions():
    for kind, shape in itertools.product(REDUCE, SHAPES):
        x = np.abs(normal(*shape)) if kind == "log_sum" else normal(*shape)
        axes = [[], *([i] for i in range(len(shape))), *([[0, -1]] if len(shape) > 1 else [])]
        for number, named in enumerate(axes):
            yield Case("reduce", (x,), {"kind": kind, "axes": named, "keepdims": number % 2 == 0}, slack=2)
    for kind, special in itertools.product(REDUCE, (np.inf, -np.inf, np.nan)):
        x = normal(2, 19)
        x[1, 7] = special
        yield Case("reduce", (x,), {"kind": kind, "axes": [1], "keepdims": False}, slack=2)
    for kind in ("any", "all", "max", "min", "sum", "prod", "l1"):
        yield Case("reduce", (bools(4, 3),), {"kind": kind, "axes": [1], "keepdims": False})
    for kind, dtype in itertools.product(("sum", "max", "min", "prod", "l1", "sum_square", "mean", "l2"), INTEGERS):
        yield Case("reduce", (whole(dtype, 3, 5),), {"kind": kind, "axes": [0], "keepdims": True})
    for kind, last, keepdims in itertools.product(("max", "min"), (True, False), (True, False)):
        attrs = {"kind": kind, "keepdims": keepdims, "select_last": last}
        for axis in (0, 1, -1):
            yield Case("arg", (normal(4, 3, 17).round(),), {**attrs, "axis": axis})
        with_nan = normal(3, 9)
        with_nan[0, [2, 5]] = np.nan
        yield Case("arg", (with_nan,), {**attrs, "axis": 1})
        for n in (1, 16, 33, 100):
            rows = normal(9, n).round()
            rows[1], rows[2], rows[3], rows[4], rows[5] = -np.inf, np.inf, np.nan, -0.0, 0.0
            rows[6, [0, -1]], rows[7, n // 2], rows[4, n // 3] = np.nan, np.nan, 0.0
            yield Case("arg", (rows,), {**attrs, "axis": 1})
        yield Case("arg", (whole("int32", 4, 5),), {**attrs, "axis": 0})
    for shape, exclusive, reverse in itertools.product(SHAPES[1:], (True, False), (True, False)):
        for axis in range(len(shape)):
            yield Case("cumsum", (normal(*shape),), {"axis": axis, "exclusive": exclusive, "reverse": reverse})
    yield Case("cumsum", (whole("int32", 4, 5),), {"axis": 0, "exclusive": False, "reverse": True})
    yield Case("reduce", (np.abs(normal(2, 50_000)),), {"kind": "sum", "axes": [1], "keepdims": False})


def norms():
    for op, shape in itertools.product(("softmax", "log_softmax"), SHAPES[1:]):
        for axis in range(-1, len(shape) - 1):
            yield Case(op, (normal(*shape) * 5,), {"axis": axis})
    masked = normal(3, 20)
    masked[0], masked[1, 3], masked[2, 3:9] = -np.inf, np.nan, -np.inf
    for op in ("softmax", "log_softmax"):
        yield Case(op, (masked,), {"axis": 1})
        yield Case(op, (normal(1, 50_000),), {"axis": 1})
    for shape in ((3,), (17,), (2, 5), (2, 3, 17), (0, 4)):
        for axis in range(1 if shape[0] == 0 else 0, len(shape)):
            attrs = {"axis": axis, "epsilon": 1e-5}
            scale, bias = normal(*shape[axis:]), normal(*shape[axis:])
            yield Case("layer_norm", (normal(*shape), scale, bias), attrs, slack=10)
            yield Case("layer_norm", (normal(*shape), None, bias), attrs, constant=(2,), slack=10)
            yield Case("layer_norm", (normal(*shape),), attrs, slack=10)
    for shape, constant in itertools.product(SHAPES[1:], ((), (1, 2, 3, 4))):
        for axis in range(len(shape)):
            C = shape[axis]
            inputs = (normal(*shape), normal(C), normal(C), normal(C), np.abs(normal(C)) + np.float32(0.1))
            yield Case("batch_norm", inputs, {"axis": axis, "epsilon": 1e-3}, constant=constant, slack=4)


def positions():
    for dtype in ("float32", "int64", "int32", "int8", "uint16", "bool"):
        x = whole("int64", 3, 4, 5, low=0, high=2 if dtype == "bool" else 99).astype(dtype)
        indices = (i64(1)[0], i64(1), i64([2, 0], [-1, -3]), i64(), np.array([1, 2], np.int32))
        for axis, where, constant in itertools.product((0, 1, -1), indices, ((), (1,))):
            yield Case("gather", (x, np.asarray(where)), {"axis": axis}, constant=constant)
        for axis, shape in ((0, (2, 4, 5)), (1, (3, 3, 5)), (-1, (3, 4, 2))):
            yield Case("gather_elements", (x, _random.integers(-3, 3, shape)), {"axis": axis})
        yield from _scatters(x)
        for repeats in ((2, 1, 3), (2, 0, 3), (1, 1, 1), (2, 3, 2)):
            yield Case("tile", (x, i64(*repeats)), constant=(1,))
        for mode in ("constant", "edge", "reflect"):
            for pads in ((1, 0, 2, 0, 3, 1), (-1, 0, 2, 0, -2, 1), (0,) * 6):
                yield Case("pad", (x, i64(*pads)), {"mode": mode}, constant=(1,))
            yield Case("pad", (x, i64(7, 9)), {"mode": mode, "axes": [-1]}, constant=(1,))
        yield Case("pad", (x, i64(-2, 0, 0, -2, 0, 0)), {"mode": "constant"}, constant=(1,))
        yield Case("pad", (x, i64(1, 0, 2, 0, 3, 1), np.array(1, dtype)), {"mode": "constant"}, constant=(1,))
        yield Case("last", (x, i64(0, 4, 2)))
        yield Case("last", (x, np.array([1, 4, 2], np.int32)))
        yield Case("concat", (x, x[:, :2], x[:, :0]), {"axis": 1})
        yield Case("transpose", (x,), {"perm": [2, 0, 1]})
        yield Case("reshape", (x, i64(0, -1)), constant=(1,))
        yield Case("squeeze", (x[:1],), {"axes": []})
        yield Case("unsqueeze", (x,), {"axes": [0, -1]})
        yield Case("flatten", (x,), {"axis": 2})
        yield Case("expand", (x[:, :1], i64(2, 3, 4, 1)), constant=(1,))
        yield Case("slice", (x, i64(-1, 0), i64(-9, 9), i64(1, 2), i64(-2, 3)), constant=(1, 2, 3, 4))
    for ids in (i64([1, 0], [3, 2]), np.array(1), i64(), whole("int32", 7, low=0, high=4)):
        for constant in ((), (1,)):
            yield Case("embedding", (ids, normal(4, 5)), constant=constant)


ACTIVATIONS = [
    {"kind": "affine", "alpha": 2.0, "beta": 0.5},
    {"kind": "elu", "alpha": 0.7},
    {"kind": "hard_sigmoid", "alpha": 0.3, "beta": 0.4},
    {"kind": "leaky_relu", "alpha": 0.2},
    {"kind": "relu"},
    {"kind": "scaled_tanh", "alpha": 1.7, "beta": 0.6},
    {"kind": "sigmoid"},
    {"kind": "softplus"},
    {"kind": "softsign"},
    {"kind": "tanh"},
    {"kind": "thresholded_relu", "alpha": 0.5},
]


def _scatters(x):
    """x (3, 4, 5): blocks by data, by constants that make a box, one with steps, and none; each way to combine."""
    rows = i64([2, 1], [0, -1], [2, 0])
    grid = np.stack(np.meshgrid(i64(1, 2), i64(0, 2), indexing="ij"), -1)
    every = np.stack(np.meshgrid(i64(0, 1, 2), i64(1, 2), i64(2, 3, 4), indexing="ij"), -1)
    for where in (rows, i64([1]), np.array([[-1]]), grid, every, every[::-1], np.zeros((0, 2), np.int64)):
        k = where.shape[-1]
        updates = np.resize(x[::-1], (*where.shape[:-1], *x.shape[k:]))
        for constant in ((), (1,)):
            yield Case("scatter_nd", (x, where, updates), {"reduction": "none"}, constant=constant)
        if x.dtype != bool:
            yield from (Case("scatter_nd", (x, where, updates), {"reduction": r}) for r in ("add", "mul", "max", "min"))
    for axis, shape in ((0, (2, 4, 5)), (1, (3, 3, 5)), (-1, (3, 4, 2)), (1, (3, 0, 5))):
        where = _random.integers(-3, 3, shape)
        for reduction in ("none",) if x.dtype == bool else ("none", "add", "mul", "max", "min"):
            updates = np.resize(x[::-1], shape)
            yield Case("scatter_elements", (x, where, updates), {"axis": axis, "reduction": reduction})


def activations():
    finite = SPECIAL[np.abs(SPECIAL) <= 100]
    for attrs in ACTIVATIONS:
        for shape in SHAPES:
            yield Case("activation", (normal(*shape) * 3,), attrs)
        yield Case("activation", (finite,), attrs, slack=2)


TURNED = [(5, 33), (16, 17), (8, 3, 20), (2, 16, 6, 40), (7, 9, 11), (3, 4, 5, 6), (2, 40, 3, 21), (4, 4, 8)]


def transposes():
    for shape in TURNED:
        for perm in itertools.permutations(range(len(shape))):
            yield Case("transpose", (normal(*shape),), {"perm": list(perm)})
        for dtype in ("int64", "int32", "int16", "bool"):
            perm = list(range(len(shape)))[::-1]
            yield Case("transpose", (bools(*shape) if dtype == "bool" else whole(dtype, *shape),), {"perm": perm})
    with_nan = normal(40, 40)
    with_nan[::7, ::3] = np.nan
    yield Case("transpose", (with_nan,), {"perm": [1, 0]})


SLIDING = [  # x, weight of conv, strides, pads, dilations, groups
    ((1, 9, 1, 129), (16, 9, 1, 5), (1, 2), (0, 2, 0, 2), (1, 1), 1),
    ((1, 16, 1, 65), (16, 8, 1, 5), (1, 2), (0, 2, 0, 2), (1, 1), 2),
    ((1, 24, 1, 33), (16, 24, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((2, 16, 11, 33), (16, 1, 3, 3), (1, 1), (0, 1, 0, 1), (5, 1), 16),
    ((2, 3, 7, 5), (7, 3, 3, 2), (2, 1), (1, 0, 2, 3), (1, 2), 1),
    ((1, 4, 60, 1), (6, 2, 5, 1), (1, 1), (2, 0, 1, 0), (2, 1), 2),
    ((1, 4, 60, 3), (6, 4, 5, 3), (2, 1), (2, 1, 1, 1), (1, 1), 1),
    ((2, 5, 8, 21), (3, 5, 2, 1), (1, 1), (1, 0, 0, 0), (3, 1), 1),
    ((1, 300, 40), (9, 300, 1), (1,), (0, 0), (1,), 1),
    ((2, 70, 100), (26, 35, 5), (3,), (4, 0), (2,), 2),
    ((1, 3, 9, 83), (5, 3, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
    ((0, 3, 20), (4, 3, 3), (1,), (0, 0), (1,), 1),
    ((2, 3, 17), (1, 3, 17), (1,), (0, 0), (1,), 1),
]
POOLING = [  # x, kernel, strides, pads, dilations
    ((2, 3, 37), (3,), (2,), (1, 1), (1,)),
    ((1, 2, 9, 40), (3, 2), (1, 1), (0, 0, 0, 0), (2, 3)),
    ((2, 2, 30, 5), (2, 3), (2, 2), (1, 1, 0, 1), (1, 1)),
    ((1, 3, 7, 33), (1, 3), (1, 3), (0, 1, 0, 1), (1, 1)),
    ((2, 3, 6, 75), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1)),
    ((1, 2, 5, 150), (3, 4), (2, 2), (1, 3, 1, 3), (1, 1)),
    ((0, 3, 7), (2,), (1,), (0, 0), (1,)),
]


def pools():
    for (shape, kernel, strides, pads, dilations), kind in itertools.product(POOLING, ("max", "average", "sum")):
        form = {"kind": kind, "kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations}
        for more in ({}, {"ceil_mode": True}, {"count_include_pad": True, "ceil_mode": True}, {"pads": "same_upper"}):
            yield Case("pool", (normal(*shape),), form | more)


CLAMPS = (None, [0, None], [-0.5, 0.75], [None, 0.25])


def convolutions():
    for i, (shape, kernel, strides, pads, dilations, group) in enumerate(SLIDING):
        form = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
        axes, O, clamp = len(strides), kernel[0], {"clamp": CLAMPS[i % 4]}
        scale = np.float32(np.prod(kernel[1:]) ** -0.5)
        w = normal(*kernel) * scale
        yield Case("conv", (normal(*shape), w), form, constant=(1,), slack=4)
        yield Case("conv", (normal(*shape), w, normal(O), normal(O)), form | clamp, constant=(1, 2, 3), slack=4)
        same = form | {"pads": "same_upper" if i % 2 else "same_lower"}
        yield Case("conv", (normal(*shape), w, None, normal(O)), same, constant=(1, 3), slack=4)
        if i not in (3, 11):  # those crop more than there is
            w = normal(shape[1], *kernel[1:]) * scale
            form = form | {"output_padding": [s - 1 for s in strides]}
            b = normal(w.shape[1] * group)
            yield Case("conv_transpose", (normal(*shape), w, b), form | clamp, constant=(1, 2), slack=6)
            sizes = form | {"output_shape": [n * s + 1 for n, s in zip(shape[2:], strides, strict=True)]}
            yield Case("conv_transpose", (normal(*shape), w, None, b), sizes, constant=(1, 3), slack=6)
            yield Case("conv_transpose", (normal(*shape), w), form | {"pads": [0] * 2 * axes}, constant=(1,), slack=6)
    between = {"strides": [2, 2], "pads": [0, 1, 2, 1], "dilations": [1, 1], "group": 1, "output_padding": [0, 0]}
    arrays = (normal(3, 2, 4, 2), normal(2, 2, 2, 1), normal(2))  # no output of the last axis reads any input
    yield Case("conv_transpose", arrays, between, constant=(1, 2))


def group_norms():
    for shape, groups in (((2, 6), 3), ((2, 6, 17), 2), ((1, 4, 3, 5), 4), ((3, 5, 33), None), ((0, 4, 3), 2)):
        C = shape[1]
        attrs = {"epsilon": 1e-5} if groups is None else {"epsilon": 1e-5, "groups": groups}
        yield Case("group_norm", (normal(*shape), normal(C), normal(C)), attrs, slack=20)
    for shape in ((3,), (17,), (2, 5), (2, 3, 17), (0, 4)):
        for axis in range(1 if shape[0] == 0 else 0, len(shape)):
            attrs = {"axis": axis, "epsilon": 1e-5}
            yield Case("rms_norm", (normal(*shape), normal(*shape[axis:])), attrs, slack=10)
            yield Case("rms_norm", (normal(*shape),), attrs, slack=10)


def contractions():
    for equation, shapes in (
        ("ij,jk->ik", ((3, 4), (4, 5))), ("bij,bjk->bik", ((2, 3, 17), (2, 17, 5))), ("ij,jk", ((3, 4), (4, 5))),
        ("bhqd,bhkd->bhqk", ((2, 3, 5, 8), (2, 3, 7, 8))), ("i,i->", ((33,), (33,))), ("i,j->ji", ((3,), (4,))),
        ("ii->i", ((5, 5),)), ("ii", ((5, 5),)), ("ijk->kj", ((2, 3, 4),)), ("...ij,...jk->...ik", ((2, 3, 4), (4, 5))),
        ("...i,...i->...", ((2, 1, 4), (3, 4))), ("b...,b->...", ((3, 4, 2), (3,))), ("nchw,nvw->nchv", ((2, 3, 4, 5),
        (2, 6, 5))), ("ab,bc,cd->da", ((2, 3), (3, 4), (4, 5))), ("ij,ik->jk", ((0, 3), (0, 4))), ("aij,k->ai", ((2, 3,
        4), (5,))), ("nkctv,kvw->nctw", ((1, 2, 3, 4, 5), (2, 5, 5))), ("ij->", ((3, 17),)),
    ):  # fmt: skip
        arrays = tuple(normal(*s) for s in shapes)
        for constant in ((), (len(shapes) - 1,)) if len(shapes) > 1 else ((),):
            yield Case("einsum", arrays, {"equation": equation}, constant=constant, slack=10)
    yield Case("einsum", (whole("int32", 3, 4), whole("int32", 4, 2)), {"equation": "ij,jk->ik"})


def resizes():
    def f32(*values):
        return np.array(values, np.float32)

    x = normal(2, 3, 5, 7)
    modes = ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric")
    for mode, coordinates in itertools.product(("nearest", "linear", "cubic"), modes):
        attrs = {"mode": mode, "coordinates": coordinates}
        yield Case("resize", (x, None, f32(1, 1, 2, 2.5)), attrs, constant=(2,), slack=10)
        yield Case("resize", (x, None, None, i64(2, 3, 1, 20)), attrs, constant=(3,), slack=10)
        yield Case("resize", (x, None, f32(0.6, 3)), {**attrs, "axes": [3, 1]}, constant=(2,), slack=10)
        if mode != "nearest":
            more = {**attrs, "antialias": True, "exclude_outside": True}
            yield Case("resize", (x, None, f32(1, 1, 0.4, 0.7)), more, constant=(2,), slack=10)
    for nearest in ("floor", "ceil", "round_prefer_ceil"):
        attrs = {"mode": "nearest", "coordinates": "half_pixel", "nearest": nearest, "policy": "not_larger"}
        for array in (x, whole("int8", 1, 2, 4, 3)):
            yield Case("resize", (array, None, None, i64(1, 2, 9, 3)), attrs, constant=(3,))
    crop = {"mode": "linear", "coordinates": "tf_crop_and_resize", "outside": 10.0, "axes": [2, 3]}
    yield Case("resize", (x, f32(-0.2, 0.3, 1.2, 0.6), None, i64(6, 4)), crop, constant=(1, 3), slack=10)
    yield Case("resize", (normal(1, 2, 40), None, f32(1, 1, 2)), {"mode": "linear", "coordinates": "half_pixel"},
               constant=(2,), slack=10)  # fmt: skip


def selections():
    for largest, k in itertools.product((True, False), (0, 1, 3, 17)):
        for array in (normal(4, 17), normal(4, 17).round(), whole("int32", 2, 17), normal(2, 17, 3)):
            yield Case("topk", (array, i64(k)), {"axis": 1, "largest": largest}, constant=(1,))
        yield Case("topk", (SPECIAL, i64(k)), {"axis": 0, "largest": largest}, constant=(1,))
    for dtype in ("float32", "int64", "bool", "uint8"):
        x = whole("int64", 3, 4, 5, low=0, high=2).astype(dtype)
        for lead, where in (
            (0, i64([1], [-1])), (0, i64([1, 3, -5], [0, 0, 0])), (1, i64([1], [0], [3])), (0, i64([[2, 1]])),
            (2, _random.integers(-5, 5, (3, 4, 2, 1))), (0, np.zeros((2, 0), np.int64)),
            (0, np.zeros((0, 2), np.int64)),
        ):  # fmt: skip
            yield Case("gather_nd", (x, where), {"batch_dims": lead})
        yield Case("reverse_sequence", (x, i64(0, 1, 2, 3)), {"time_axis": 0, "batch_axis": 1})
        yield Case("reverse_sequence", (x, np.array([4, 0, 3], np.int32)), {"time_axis": 1, "batch_axis": 0})
    yield Case("nonzero", (whole("int64", 3, 4, low=0, high=2),), constant=(0,))
    yield Case("pad", (normal(3, 4), i64(1, 0, 2, 5)), {"mode": "wrap"}, constant=(1,))
    for shape, exclusive, reverse in itertools.product(((3,), (2, 17)), (True, False), (True, False)):
        attrs = {"axis": len(shape) - 1, "exclusive": exclusive, "reverse": reverse}
        yield Case("cumprod", (normal(*shape),), attrs, slack=4)
    for kind in ("bit_and", "bit_or", "bit_xor", "shift_left", "shift_right"):
        for dtype in INTEGERS:
            b = whole(dtype, 4, low=0, high=70) if "shift" in kind else whole(dtype, 4)
            yield Case("binary", (whole(dtype, 3, 4), b), {"kind": kind})
    for kind, x in (("acosh", np.abs(normal(19)) + 1), ("asinh", SPECIAL), ("atanh", np.tanh(normal(19)))):
        yield Case("unary", (x,), {"kind": kind}, slack=4)


def spectra():
    for n, parts, axis in itertools.product((1, 8, 15), (1, 2), (1, 2)):
        x = normal(2, *((n, 3) if axis == 1 else (3, n)), parts)
        for inverse in (False, True):
            yield Case("dft", (x,), {"axis": axis, "inverse": inverse}, slack=40)
        yield Case("dft", (x,), {"axis": axis, "length": 11}, slack=40)
        one = {"axis": axis, "onesided": True}
        yield Case("dft", (x,), one if parts == 1 else {**one, "inverse": True, "length": n}, slack=40)
    window = np.hanning(16).astype(np.float32)
    for shape, constant in itertools.product(((1, 50), (2, 50, 1)), ((), (1,))):
        yield Case("stft", (normal(*shape), window), {"step": 8}, constant=constant, slack=40)
        yield Case("stft", (normal(*shape),), {"step": 5, "length": 12, "onesided": False}, slack=40)
    yield Case("stft", (normal(2, 40, 2), window), {"step": 4, "onesided": False}, constant=(1,), slack=40)


def quantised(dtype, *shape):
    limits = np.iinfo(dtype)
    return _random.integers(limits.min, limits.max + 1, shape).astype(dtype)


def _halves(*shape, low=-9, high=7):
    """Powers of two: a scale that both precisions divide by with the same result, ties and all."""
    return (2.0 ** _random.integers(low, high, shape)).astype(np.float32)


def quantisations():
    for to, shape in itertools.product(("int8", "uint8", "int16", "uint16"), ((), (0,), (17,), (2, 5), (3, 4, 33))):
        x, attrs = normal(*shape) * 40, {"to": to}
        yield Case("quantize", (x, np.float32(0.25), quantised(to)), attrs)
        yield Case("quantize", (x, np.float32([0.25])), attrs, constant=(1,))
        q, z = quantised(to, *shape), quantised(to)
        yield Case("dequantize", (q, np.float32(0.37), z), constant=(1,))
        yield Case("dequantize", (q, np.float32(0.37)))
        for axis in range(len(shape)):
            n = shape[axis]
            pair = (_halves(n), quantised(to, n))
            for constant in ((), (1, 2), (2,)):
                yield Case("quantize", (x, *pair), attrs | {"axis": axis}, constant=constant)
                yield Case("dequantize", (q, *pair), {"axis": axis - len(shape)}, constant=constant)
            for size in (1, 2, 3, 40):
                blocks = tuple(-(-m // size) if i == axis else m for i, m in enumerate(shape))
                pair, where = (_halves(*blocks), quantised(to, *blocks)), {"axis": axis, "block_size": size}
                yield Case("quantize", (x, *pair), attrs | where, constant=(1, 2) if size % 2 else ())
                yield Case("dequantize", (q, *pair), where, constant=() if size % 2 else (1, 2))
    for to in ("int8", "uint8", "int16", "uint16"):
        yield Case("quantize", (SPECIAL, np.float32(1), quantised(to)), {"to": to})
        yield Case("quantize", (whole("int32", 3, 7, low=-90000, high=90000), np.float32(2)), {"to": to})
    yield Case("dequantize", (quantised("int32", 3, 7) >> 8, np.float32(0.5)))
    for shape in ((), (3,), (2, 5, 33)):
        x = whole("int32", *shape, low=-100, high=156) / np.float32(8)
        x.reshape(-1)[:3] = np.float32([0, 155 / 8, -100 / 8])[: x.size]
        for part in (x, np.abs(x), np.zeros_like(x)):
            yield Case("dynamic_quantize", (part.astype(np.float32),))
    yield Case("dynamic_quantize", (normal(2, 0),))
    yield Case("dynamic_quantize", (SPECIAL,))
    yield Case("dynamic_quantize", (SPECIAL[~np.isnan(SPECIAL)],))


def integer_products():
    kinds = itertools.cycle(itertools.product(("uint8", "int8"), repeat=2))
    shapes = [
        ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
        ((3, 0), (0, 5)), ((0, 4), (4, 5)), ((3, 4), (4, 0)), ((2, 7, 1800), (1800, 33)), ((5, 130), (130, 70)),
        ((1, 40000), (40000, 1)),
    ]  # fmt: skip
    for a, b in shapes:
        for constant in ((), (1, 2, 3), (1,), (1, 3)):
            left, right = next(kinds)
            zeros = (quantised(left), quantised(right, 1))
            extreme = np.full(b, np.iinfo(right).max, right) if b[0] == 40000 else quantised(right, *b)
            factors = (quantised(left, *a), extreme)
            yield Case("matmul_integer", (*factors, *zeros), constant=constant)
            if 2 not in constant:
                yield Case("matmul_integer", factors, constant=constant[:1])
            if len(a) == len(b) == 2:
                zeros = (quantised(left, a[0]), quantised(right, b[1]))
                yield Case("matmul_integer", (*factors, *zeros), constant=constant)
    for i, (shape, kernel, strides, pads, dilations, group) in enumerate(SLIDING):
        form = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
        left, right = next(kinds)
        factors = quantised(left, *shape), quantised(right, *kernel)
        zeros = quantised(left), quantised(right, *((kernel[0],) if i % 2 else ()))
        yield Case("conv_integer", (*factors, *zeros), form, constant=(1, 2, 3) if i % 3 else (1, 3))
        yield Case("conv_integer", factors, form | {"pads": "same_upper"}, constant=(1,))
    form = {"strides": [1], "pads": [1, 1], "dilations": [1], "group": 2}
    factors = np.full((1, 500, 9), 255, np.uint8), np.full((4, 250, 3), -128, np.int8)
    yield Case("conv_integer", (*factors, np.uint8(0), np.int8(127)), form, constant=(1, 3))
    form = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
    factors = quantised("uint8", 1, 2, 19, 20), np.full((2, 2, 17, 17), 255, np.uint8)
    yield Case("conv_integer", factors, form, constant=(1,))


def loop_body(*nodes: Node, inputs: str, outputs: str, captured: str = "") -> Subgraph:
    """Names in one text; "-" for an output that there is not."""
    ends = tuple("" if name == "-" else name for name in outputs.split())
    return Subgraph(tuple(inputs.split()), tuple(captured.split()), ends, nodes)


def looping(body: Subgraph, states: int = 1, axes=(0,), backward=(False,), out=(), out_backward=None, **more) -> dict:
    back = [False] * len(out) if out_backward is None else list(out_backward)
    return {"body": body, "states": states, "axes": list(axes), "backward": list(backward), "output_axes": list(out),
            "output_backward": back, **more}  # fmt: skip


def loops():
    tanh, add = {"kind": "tanh"}, {"kind": "add"}
    cell = (
        Node("matmul", ("h", "W"), ("hw",)), Node("binary", ("hw", "x"), ("s",), add),
        Node("activation", ("s",), ("h2",), tanh),
    )  # fmt: skip
    recurrent = loop_body(*cell, inputs="i h x", captured="W", outputs="- h2")
    for shape, axis, back in (
        ((5, 2, 3), 0, False),
        ((2, 4, 3), 1, True),
        ((2, 3, 1), -1, False),
        ((0, 2, 3), 0, False),
    ):
        x = normal(*shape)
        attrs = looping(recurrent, axes=[axis], backward=[back])
        yield Case("loop", (None, None, normal(2, 3), x, normal(3, 3)), attrs, slack=10)
        yield Case("loop", (None, None, normal(2, 3), x, normal(3, 3)), attrs, constant=(4,), slack=10)
    swap = loop_body(Node("binary", ("a", "b"), ("c",), add), inputs="i a b", outputs="- b c")
    for count in (0, 1, 2, 7):
        yield Case("loop", (i64(count).reshape(()), None, normal(4), normal(4)), looping(swap, 2, (), ()))
    half = (
        Node("binary", ("v", "by"), ("w",), {"kind": "mul"}),
        Node("reduce", ("w",), ("m",), {"kind": "max", "axes": [], "keepdims": False}),
        Node("compare", ("m", "least"), ("on",), {"kind": "greater"}),
    )
    until = loop_body(*half, inputs="i v", captured="by least", outputs="on w")
    for start in (True, False):
        given = (None, np.array(start), abs(normal(3)) + 1, np.float32([0.5]), np.float32(0.01))
        yield Case("loop", given, looping(until, 1, (), ()))
    numbered = loop_body(
        Node("cast", ("i",), ("f",), {"to": "float32"}), Node("binary", ("v", "f"), ("w",), add),
        inputs="i v", outputs="- w",
    )  # fmt: skip
    yield Case("loop", (i64(5), None, normal(3)), looping(numbered, 1, (), ()))
    inner = loop_body(Node("binary", ("u", "r"), ("u2",), add), inputs="j u", captured="r", outputs="- u2")
    nested = loop_body(
        Node("loop", ("n", "", "h", "x"), ("h2",), looping(inner, 1, (), ())),
        inputs="i h x", captured="n", outputs="- h2",
    )  # fmt: skip
    yield Case("loop", (None, None, normal(2, 3), normal(4, 2, 3), i64(3)), looping(nested), slack=10)


def branches():
    first = loop_body(Node("activation", ("a",), ("t",), {"kind": "tanh"}), inputs="", captured="a b", outputs="t")
    other = loop_body(Node("binary", ("a", "b"), ("u",), {"kind": "mul"}), inputs="", captured="a b", outputs="u")
    same = loop_body(inputs="", captured="a b", outputs="b")
    for truth in (True, False):
        for then, otherwise in ((first, other), (other, same), (same, first)):
            given, both = (np.array(truth), normal(3, 4), normal(3, 4)), (_renamed(then, "1"), _renamed(otherwise, "2"))
            yield Case("branch", given, dict(zip(("then", "otherwise"), both, strict=True)))
            yield Case("branch", given, dict(zip(("then", "otherwise"), both, strict=True)), constant=(0, 2))
    taken = Node("branch", ("c", "h", "x"), ("h2",), {"then": _renamed(first, "1"), "otherwise": _renamed(other, "2")})
    body = loop_body(
        Node("reduce", ("x",), ("m",), {"kind": "sum", "axes": [], "keepdims": False}),
        Node("compare", ("m", "zero"), ("c",), {"kind": "greater"}), taken, inputs="i h x", captured="zero",
        outputs="- h2",
    )  # fmt: skip
    yield Case("loop", (None, None, normal(3, 4), normal(6, 3, 4), np.float32(0)), looping(body), slack=10)


def _renamed(body: Subgraph, suffix: str) -> Subgraph:
    """The same with names of its own."""
    nodes = tuple(
        Node(n.op, tuple(i + suffix for i in n.inputs), tuple(o + suffix for o in n.outputs), n.attrs)
        for n in body.nodes
    )
    return Subgraph((), tuple(n + suffix for n in body.captured), tuple(n + suffix for n in body.outputs), nodes)


FAMILIES = {
    "activations": activations,
    "elementwise": elementwise,
    "products": products,
    "reductions": reductions,
    "norms": norms,
    "positions": positions,
    "convolutions": convolutions,
    "transposes": transposes,
    "contractions": contractions,
    "group_norms": group_norms,
    "resizes": resizes,
    "selections": selections,
    "spectra": spectra,
    "pools": pools,
    "quantisations": quantisations,
    "integer_products": integer_products,
    "loops": loops,
    "branches": branches,
}
CASES = {name: list(make()) for name, make in FAMILIES.items()}
