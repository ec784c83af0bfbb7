"""Native gradients against the definition: every form that learns natively, sizes, threads, memory, levels of CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from learn_cases import gru_of

import fastgru
from fastgru import learn
from fastgru.errors import UnsupportedModelError
from fastgru.kernels.operands.learn import HIDDEN, RESET
from fastgru.learn.chain import Chain, why_not
from fastgru.learn.rows import Native, words_of
from fastgru.reference.gradients.gru import gru_back
from fastgru.simd.target import TARGET, runnable
from fastgru.spec import GRUSpec

DOUBLE = {"precision": "float64"}
OTHERS = [target.short for target in runnable() if not target.features and target.base != TARGET.base]


def network(rng, *, H, V=11, I=5, layers=2, reset_after=True, embedding=True, bias=True):
    sizes = [I, *[H] * (layers - 1)]
    parts = [
        gru_of(rng, *(GRUSpec(i, H, reset_after=reset_after) for i in sizes), bias=bias),
        fastgru.LayerNorm(H, rng.standard_normal(H), **DOUBLE), fastgru.Tanh(**DOUBLE),
        fastgru.Linear(rng.standard_normal((V, H)), rng.standard_normal(V) if bias else None, **DOUBLE),
    ]  # fmt: skip
    return fastgru.Sequential(
        *([fastgru.Embedding(rng.standard_normal((V, I)), **DOUBLE)] if embedding else []), *parts
    )


def native_gradients(net, x, targets, **options):
    """E of each place and the gradients by name, the second time, when all arrays are used again."""
    chain = Chain(net.to_graph(), **options)
    for _ in range(2):
        chain.weights.flat_gradient[...] = 0
        rows = chain.forward(x)
        each = chain.entropy(rows, targets, 1.0)
        chain.back(rows)
    return each, {name: a.copy() for name, a in chain.weights.gradients.items()}


def check(net, x, targets, dtype, **options):
    expected = learn.gradients(net, x, targets)
    each, found = native_gradients(net, x, targets, dtype=dtype, **options)
    bound = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(each.sum(axis=1), expected.steps, rtol=10 * bound)
    assert set(found) == set(expected.weights)
    for name, a in expected.weights.items():
        assert np.abs(found[name] - a).max() <= bound * np.abs(a).max(), name
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("embedding", [True, False])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("H", [1, 7, 16, 33, 64])
def test_every_form(H, reset_after, embedding, dtype):
    rng = np.random.default_rng(H)
    net = network(rng, H=H, reset_after=reset_after, embedding=embedding, bias=H != 7)
    x = rng.integers(0, 11, (9, 4)) if embedding else rng.standard_normal((9, 4, 5))
    check(net, x, rng.integers(0, 11, (9, 4)), dtype)


@pytest.mark.parametrize("N", [1, 3, 32])
@pytest.mark.parametrize(("H", "V"), [(256, 40), (64, 300)])
def test_sizes(H, V, N):
    """300 ids are more than half of the rows: each row is looked up, and multiplied."""
    rng = np.random.default_rng(N)
    net = network(rng, H=H, V=V, I=17, layers=1)
    check(net, rng.integers(0, V, (6, N)), rng.integers(0, V, (6, N)), "float32")


def test_long_sequences():
    rng = np.random.default_rng(1)
    net = network(rng, H=16, layers=1)
    check(net, rng.integers(0, 11, (1000, 2)), rng.integers(0, 11, (1000, 2)), "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reset_after", [True, False])
def test_bits_do_not_depend_on_threads_and_memory_bounds_the_gates(reset_after, dtype):
    rng = np.random.default_rng(2)
    net = network(rng, H=33, reset_after=reset_after)
    x, targets = rng.integers(0, 11, (40, 16)), rng.integers(0, 11, (40, 16))
    alone = check(net, x, targets, dtype)
    for threads in (2, 3, 5):
        _, found = native_gradients(net, x, targets, dtype=dtype, threads=threads)
        for name, a in alone.items():
            np.testing.assert_array_equal(found[name], a)
    gate_bytes = 2 * 7 * 4 * 16 * 48 * np.dtype(dtype).itemsize
    check(net, x, targets, dtype, gate_bytes=gate_bytes)
    chain = Chain(net.to_graph(), dtype, gate_bytes=gate_bytes)
    chain.forward(x)
    cuts = [part.directions[0].cuts for part in chain.layers]
    each = cuts[0][0][1]
    assert cuts == [[(a, min(a + each, 40)) for a in range(0, 40, each)]] * 2
    assert each in (7, 8, 9)
    check(net, x, targets, dtype, gate_bytes=1)


@pytest.mark.parametrize("gate_bytes", [None, 5000])
@pytest.mark.parametrize("reset_after", [True, False])
def test_hidden_steps_and_resets(reset_after, gate_bytes):
    """A hidden step hands the state on; a reset begins from zeros, and nothing goes back beyond it."""
    rng = np.random.default_rng(3)
    spec = GRUSpec(5, 7, reset_after=reset_after)
    net = gru_of(rng, spec)
    T, N = 12, 4
    x, h0, up = rng.standard_normal((T, N, 5)), rng.standard_normal((N, 7)), rng.standard_normal((T, N, 7))
    hidden, resets = rng.random((T, N)) < 0.3, rng.random((T, N)) < 0.2
    chain = Chain(net.to_graph(), "float64", gate_bytes=gate_bytes)
    chain.begin([h0[None]])
    y = chain.forward(x, (hidden * HIDDEN + resets * RESET).astype(np.uint8)).reshape(T, N, -1)
    rows = chain.native.zeros(T * N, y.shape[2])
    rows[:, :7] = up.reshape(T * N, 7)
    chain.back(rows)
    weights, sums, last = net.weights[0], None, []
    for n in range(N):  # each row as the runs between its resets
        starts = [0, *np.flatnonzero(resets[:, n]), T]
        for a, b in pairwise(starts):
            if a == b and a == T:
                continue
            begin = np.zeros((1, 1, 7)) if a or resets[0, n] else h0[None, n : n + 1]
            piece, mask = x[a:b, n : n + 1], ~hidden[a:b, n : n + 1]
            if not len(piece):
                continue
            state = begin
            for t in range(len(piece)):
                if mask[t, 0]:
                    state = fastgru.reference.gru.gru(spec, weights, piece[t : t + 1], state)[1]
                np.testing.assert_allclose(y[a + t, n, :7], state[0, 0], rtol=0, atol=1e-13)
            shown = up[a:b, n : n + 1].copy()
            for t in range(len(piece)):  # where nothing was visible yet, the output is the initial state's
                if not mask[: t + 1].any():
                    shown[t] = 0
            found = gru_back(spec, weights, piece, begin, shown, np.zeros((1, 1, 7)), mask=mask)
            sums = found.weights[0] if sums is None else [p + q for p, q in zip(sums, found.weights[0], strict=True)]
        last.append(state[0, 0])
    np.testing.assert_allclose(chain.states()[0][0], last, rtol=0, atol=1e-13)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    for name, expected in zip(names, sums, strict=True):
        np.testing.assert_allclose(chain.weights.gradients[name], expected, rtol=0, atol=1e-12)


def test_places_that_do_not_count():
    rng = np.random.default_rng(4)
    net, x, targets = network(rng, H=7), rng.integers(0, 11, (6, 3)), rng.integers(0, 11, (6, 3))
    mask = rng.random((6, 3)) < 0.5
    expected = learn.gradients(net, x, targets, mask=mask)
    each, found = native_gradients(net, x, np.where(mask, targets, -1), dtype="float64")
    np.testing.assert_allclose(each[~mask], 0)
    for name, a in expected.weights.items():
        np.testing.assert_allclose(found[name], a, rtol=0, atol=1e-11)


def test_a_step_of_adam_is_torchs_formula():
    rng = np.random.default_rng(5)
    from fastgru.kernels.operands.learn import ADAM

    for dtype in ("float32", "float64"):
        native = Native(dtype)
        w, g, m, v = (native.zeros(64) for _ in range(4))
        w[:], g[:] = rng.standard_normal((2, 64))
        mean, square, expected = np.zeros(64), np.zeros(64), w.astype(np.float64)
        for step in range(1, 4):
            numbers = [0.9, 0.999, 0.1, 0.001, 0.01 / (1 - 0.9**step), 1 / (1 - 0.999**step), 1e-8, 0.99, 0.5, 0.2]
            given = np.array(numbers, dtype)
            native.call(
                "adam", words_of(ADAM, weights=w, gradient=g, mean=m, square=v, numbers=given), 64 // native.lanes
            )
            d = 0.5 * g.astype(np.float64) + 0.2 * expected
            mean, square = 0.9 * mean + 0.1 * d, 0.999 * square + 0.001 * d * d
            root = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            expected = 0.99 * expected - 0.01 / (1 - 0.9**step) * mean / root
        np.testing.assert_allclose(w, expected, rtol=1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("level", OTHERS)
def test_every_level_of_this_cpu(level, request):
    """The same checks in a process whose kernels are of another level."""
    code = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    selected = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "test_hidden_steps or (test_every_form and 33) or (test_every_activation and elu)",
        str(Path(__file__)),
        str(Path(__file__).with_name("test_native_forms.py")),
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *selected],
        env={**os.environ, "FASTGRU_TARGET": level, "FASTGRU_QUIET": "1"},
        capture_output=True, text=True, check=False, cwd=request.config.rootpath,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


def test_what_learns_natively_is_told():
    rng = np.random.default_rng(6)
    assert why_not(network(rng, H=4).to_graph()) is None
    cases = {
        "has no GRU": fastgru.Linear(rng.standard_normal((3, 3))),
        "has no native gradient": fastgru.Sequential(gru_of(rng, GRUSpec(3, 4)), fastgru.LastStep(**DOUBLE)),
    }
    for message, net in cases.items():
        assert message in (why_not(net.to_graph()) or ""), message
        with pytest.raises(UnsupportedModelError, match="does not learn natively"):
            Chain(net.to_graph())


def test_what_is_before_the_weights_that_learn_is_left_alone():
    rng = np.random.default_rng(7)
    net, x, targets = network(rng, H=7), rng.integers(0, 11, (6, 3)), rng.integers(0, 11, (6, 3))
    _, whole = native_gradients(net, x, targets, dtype="float64")
    for train in (["4.weight"], ["1.bias_hh_l1"], ["0.weight"], ["2.weight", "4.bias"]):
        _, found = native_gradients(net, x, targets, dtype="float64", train=train)
        for name in train:
            np.testing.assert_array_equal(found[name], whole[name])
        assert found["1.weight_ih_l0"].any() == (train == ["0.weight"])


def test_a_share_that_fails_or_an_interrupt_waits_for_the_others():
    import time

    native, ended = Native("float32", threads=3), []

    def share(at, first, last):
        if first == 0:
            raise KeyboardInterrupt
        time.sleep(0.05)
        ended.append((first, last))
        return 0

    with pytest.raises(KeyboardInterrupt):
        native.share(share, np.zeros(1, np.int64), 9)
    assert sorted(ended) == [(3, 6), (6, 9)]
