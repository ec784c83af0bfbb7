"""Layers of drawn configurations against Keras itself, where it is installed (the torch backend, unless told)."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastgru

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", minversion="3.0")

L: Any = getattr(keras, "layers", None)
TORCH = L is not None and keras.backend.backend() == "torch"
LOWP = st.integers(1, 3)
FORMS = st.sampled_from(["channels_last", "channels_first"])
PADDINGS = st.sampled_from(["valid", "same"])
PAIRS = st.tuples(LOWP, LOWP)


def windows(draw: Any, rank: int) -> dict[str, Any]:
    """Strides or dilations: Keras has no convolution with both."""
    key = draw(st.sampled_from(["strides", "dilation_rate"]))
    return {key: tuple(draw(LOWP) for _ in range(rank))}


@st.composite
def convolutions(draw: Any, rank: int) -> Any:
    kind = draw(st.sampled_from(["Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose"]))
    config: dict[str, Any] = {
        "kernel_size": tuple(draw(LOWP) for _ in range(rank)),
        "padding": draw(PADDINGS),
        "data_format": draw(FORMS),
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, "relu", "tanh"])),
        **windows(draw, rank),
    }
    if kind in ("DepthwiseConv", "SeparableConv"):
        config["depth_multiplier"] = draw(LOWP)
        if "strides" in config:
            config["strides"] = draw(LOWP)
    if kind != "DepthwiseConv":
        config["filters"] = 2 * draw(LOWP)
    if kind == "Conv":
        config["groups"] = draw(st.sampled_from([1, 2]))
    if kind == "Conv" and rank == 1 and config["data_format"] == "channels_last":
        config["padding"] = draw(st.sampled_from(["valid", "same", "causal"]))
    if kind == "ConvTranspose":
        config["dilation_rate"] = 1
    name = f"Conv{rank}DTranspose" if kind == "ConvTranspose" else f"{kind}{rank}D"
    return name, config, config["data_format"]


@st.composite
def pools(draw: Any, rank: int) -> Any:
    kind, form = draw(st.sampled_from(["Max", "Average"])), draw(FORMS)
    if draw(st.booleans()):
        config = {"pool_size": tuple(draw(LOWP) for _ in range(rank)), "padding": draw(PADDINGS), "data_format": form}
        config["strides"] = draw(st.none() | LOWP)
        if kind == "Average" and config["padding"] == "same" and TORCH:  # torch has means of its own
            config.update(pool_size=draw(st.sampled_from([1, 3])), strides=1)
        return f"{kind}Pooling{rank}D", config, form
    return f"Global{kind}Pooling{rank}D", {"data_format": form, "keepdims": draw(st.booleans())}, form


@st.composite
def frames(draw: Any, rank: int) -> Any:
    kind = draw(st.sampled_from(["Cropping", "ZeroPadding", "UpSampling", "Flatten"]))
    form = draw(FORMS) if rank == 2 else "channels_last"
    if kind == "Flatten":
        form = draw(FORMS)
        return "Flatten", {"data_format": form}, form
    more = {"data_format": form} if rank == 2 else {}
    if kind == "UpSampling":
        how = {"interpolation": draw(st.sampled_from(["nearest", "bilinear"]))} if rank == 2 else {}
        return f"UpSampling{rank}D", {"size": draw(PAIRS) if rank == 2 else draw(LOWP), **how, **more}, form
    amounts = draw(st.integers(0, 2) | st.tuples(st.integers(0, 2), st.integers(0, 2)))
    if rank == 2 and draw(st.booleans()):
        amounts = tuple(draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(2))
    return f"{kind}{rank}D", {"cropping" if kind == "Cropping" else "padding": amounts, **more}, form


@st.composite
def layers_and_shapes(draw: Any) -> tuple[str, Any, list[int], list[int | None]]:
    """A class, its configuration, the sizes of an input, and how many of them the model knows."""
    rank = draw(st.sampled_from([1, 2]))
    name, config, form = draw(st.one_of(convolutions(rank), pools(rank), frames(rank)))
    sizes = [draw(st.integers(7, 9)) for _ in range(rank)]
    free = draw(st.booleans()) and name != "Flatten"
    spatial: list[int | None] = [None if free else n for n in sizes]
    if form == "channels_last":
        return name, config, [*sizes, 4], [*spatial, 4]
    return name, config, [4, *sizes], [4, *spatial]


def check(model: Any, inputs: list[Any], folder: Path, suffix: str) -> None:
    """What `model` gives, and what its file gives here."""
    path = folder / f"model.{suffix}"
    rng = np.random.default_rng(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_weights([rng.normal(0, 0.5, a.shape).astype(np.float32) for a in model.get_weights()])
        model.save(path)
        result = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        results = result if isinstance(result, list | tuple) else [result]
        expected = [np.array(keras.ops.convert_to_numpy(y)) for y in results]
    read = fastgru.load(path)
    outputs = list(read.run(dict(zip([spec.name for spec in read.inputs], inputs, strict=True))).values())
    assert len(outputs) == len(expected)
    for spec, y, want in zip(read.outputs, outputs, expected, strict=True):
        assert spec.shape is not None
        assert y.shape == want.shape
        assert all(s in (None, n) for s, n in zip(spec.shape, want.shape, strict=True))
        np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(want).max(initial=0))))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_layers_give_what_keras_gives(tmp_path: Path, data: st.DataObject) -> None:
    name, config, sizes, shape = data.draw(layers_and_shapes())
    source = keras.Input(shape, name="x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = keras.Model(source, getattr(L, name)(**config)(source))
        except ValueError:  # a window longer than the input, or a size that Keras refuses
            return
    x = np.random.default_rng(2).normal(0, 1, (2, *sizes)).astype(np.float32)
    suffix = "keras" if TORCH and name.endswith("Transpose") else data.draw(st.sampled_from(["keras", "h5"]))
    check(model, [x], tmp_path, suffix)
