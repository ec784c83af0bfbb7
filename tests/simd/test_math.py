"""exp, expm1, sigmoid, tanh, softplus over dense sweeps: error, range, order, NaN and infinities."""

from __future__ import annotations

import numpy as np
import pytest
from native import apply

from fastgru.simd.target import LANES

DTYPES = ("float32", "float64")
NAMES = ("exp", "expm1", "sigmoid", "softplus", "tanh")
# Bounds of the absolute error of functions that stay within [-1, 1], of the relative error of the others.
BOUND = {"float32": 2e-7, "float64": 5e-16}
RELATIVE = {"float32": 4e-7, "float64": 8e-16}


def exact(name, x):
    """The function in long double, or the widest float there is."""
    x = x.astype(np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        match name:
            case "exp":
                return np.exp(x)
            case "expm1":
                return np.expm1(x)
            case "sigmoid":
                return 1 / (1 + np.exp(-x))
            case "softplus":
                return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return np.tanh(x)


def sweep(dtype, limit=80.0):
    small = np.logspace(-30, 0, 20_000)
    return np.concatenate([np.linspace(-limit, limit, 200_001), -small, small, [0.0, -0.0]]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_absolute_error(name, dtype):
    x = sweep(dtype)
    assert np.abs(apply(name, x) - exact(name, x)).max() <= BOUND[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "expm1", "softplus", "tanh"])
def test_relative_error(name, dtype):
    x = sweep(dtype)
    if name == "softplus":  # below, it is as small as what is lost to the denormals
        x = x[x > (-80 if dtype == "float32" else -700)]
    wanted = exact(name, x)
    wanted, got = wanted[x != 0], apply(name, x)[x != 0]
    assert np.abs(got / wanted - 1).max() <= RELATIVE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_order_is_kept(name, dtype):
    """Not one step down by more than the rounding of the value itself."""
    y = apply(name, np.sort(sweep(dtype)))
    falls = np.maximum(-np.diff(y), 0)
    assert (falls <= 4 * np.spacing(np.maximum(np.abs(y[1:]), np.finfo(dtype).tiny))).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1), ("expm1", -1, None), ("exp", 0, None)]
)
def test_range(name, low, high, dtype):
    x = np.concatenate([sweep(dtype), sweep(dtype, 1e30)])
    y = apply(name, x)
    assert y.min() >= low
    assert high is None or y.max() <= high


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_saturate(dtype):
    x = np.array([-np.inf, np.inf], dtype)
    tiny, huge = np.finfo(dtype).tiny, np.finfo(dtype).max
    np.testing.assert_array_equal(apply("tanh", x), [-1, 1])
    assert 0 <= apply("sigmoid", x)[0] <= 4 * tiny
    assert apply("sigmoid", x)[1] == 1
    assert 0 <= apply("exp", x)[0] <= 4 * tiny
    assert apply("exp", x)[1] >= huge / 8
    assert apply("expm1", x)[0] == -1
    assert 0 <= apply("softplus", x)[0] <= 4 * tiny
    assert apply("softplus", x)[1] == np.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_nan_stays_in_its_lane(name, dtype):
    for size in (LANES[dtype], 2 * LANES[dtype] + 1):
        x = np.linspace(-2, 2, size).astype(dtype)
        clean = apply(name, x)
        for at in range(size):
            spoiled = x.copy()
            spoiled[at] = np.nan
            got = apply(name, spoiled)
            assert np.isnan(got[at])
            np.testing.assert_array_equal(np.delete(got, at), np.delete(clean, at))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_and_expm1_are_odd_and_exact_at_zero(dtype):
    x = np.abs(sweep(dtype))
    assert np.abs(apply("tanh", -x) + apply("tanh", x)).max() <= BOUND[dtype]
    for name, value in (("tanh", 0), ("expm1", 0), ("exp", 1), ("sigmoid", 0.5)):
        np.testing.assert_array_equal(apply(name, np.zeros(3, dtype)), [value] * 3)
