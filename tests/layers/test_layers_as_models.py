"""Layers, and networks composed of them, wherever a model is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastgru
from fastgru import GRU, Gate, LastStep, LayerNorm, Linear, Sequential, Tanh

I, H = 3, 4
PRECISIONS = ("float32", "float64", "bfloat16", "int8")


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype("f4") / 2


def gru(seed=0, inputs=I, **options):
    gates = [Gate(normal(H, inputs, seed=seed + k), normal(H, H, seed=seed + k + 3)) for k in range(3)]
    return GRU.from_gates(**dict(zip(("reset", "update", "candidate"), gates, strict=True)), **options)


def network(precision="float32", **options):
    return Sequential(
        gru(precision=precision, **options), LayerNorm(H, precision=precision), Tanh(precision=precision),
        gru(9, H, precision=precision, **options), Linear(normal(2, H), precision=precision),
    )  # fmt: skip


def stack(**options):
    names = {"weight_ih": (3 * H, H), "weight_hh": (3 * H, H), "bias_ih": (3 * H,), "bias_hh": (3 * H,)}
    weights = {f"{name}_l{k}": normal(*shape, seed=k) for name, shape in names.items() for k in range(2)}
    return GRU.from_torch({**weights, "weight_ih_l0": normal(3 * H, I)}, **options)


@given(
    make=st.sampled_from([network, gru, stack, lambda **o: Sequential(gru(**o), LastStep(**o))]),
    precision=st.sampled_from(PRECISIONS),
    steps=st.integers(1, 5),
    rows=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_what_is_saved_gives_the_same_bits(tmp_path_factory, make, precision, steps, rows):
    net, x = make(precision=precision), normal(steps, rows, I)
    path = tmp_path_factory.mktemp("saved") / "net.safetensors"
    net.save(path)
    model, made = fastgru.load(path, precision="float64" if precision == "float64" else None), net(x)
    expected = made if isinstance(made, tuple) else (made,)
    got = list(model.run({"x": x}).values())
    assert got[0].tobytes() == expected[0].tobytes()
    if len(expected) > 1:
        assert np.concatenate(got[1:]).tobytes() == expected[1].tobytes()
    assert [a.tobytes() for a in net.run({"x": x}).values()] == [a.tobytes() for a in got]
    assert [a.tobytes() for a in net.to_model().run({"x": x}).values()] == [a.tobytes() for a in got]


def test_a_saved_network_streams(tmp_path):
    net, x = network(), normal(6, 1, I)
    net.save(tmp_path / "open.safetensors", initial_state=True)
    net.save(tmp_path / "closed.safetensors")
    for path, options in (("open", {}), ("closed", {"open_states": True})):
        model = fastgru.load(tmp_path / f"{path}.safetensors", **options)
        assert len(model.graph.states) == 2
        stream = model.stream()
        made = [stream.push(frame) for frame in np.split(x, 6)]
        assert np.array_equal(np.concatenate(made), net(x))


def test_names_choose_the_inputs():
    net, x, lengths = network(), normal(5, 2, I), np.array([5, 2])
    assert list(net.run({"x": x})) == ["y"]
    assert np.array_equal(net.run({"x": x, "lengths": lengths})["y"], net(x, lengths))
    h0 = {f"h0_{k}": normal(1, 2, H, seed=k) for k in range(2)}
    made = net.run({"x": x, **h0})
    assert list(made) == ["y", "h_n_0", "h_n_1"]
    stream = net.stream(2)
    stream.set_state(h0)
    assert np.array_equal(stream.push(x), made["y"])
    single = gru()
    y, h_n = single(x, h0["h0_0"])
    assert [a.tobytes() for a in single.run({"x": x, "h0": h0["h0_0"]}).values()] == [y.tobytes(), h_n.tobytes()]
    assert np.array_equal(single.run({"x": x[:, 0]})["y"], single(x[:, 0])[0])
    out = {"y": np.empty((5, 2, 2), np.float32)}
    assert net.run({"x": x}, out)["y"] is out["y"]
    with pytest.raises(fastgru.ShapeError, match="missing h0_1"):
        net.run({"x": x, "h0_0": h0["h0_0"]})
    with pytest.raises(fastgru.ShapeError, match="unknown z; expected x"):
        net.run({"x": x, "z": x})
    with pytest.raises(fastgru.ShapeError, match="expected arrays by name"):
        net.run(x)


def test_profile_and_the_model_of_a_network():
    net, x = Sequential(*network().layers, threads=2), normal(5, 2, I)
    timings = net.profile({"x": x})
    assert sum("gru" in timing.handler for timing in timings) == 2
    model = net.to_model(initial_state=True)
    assert isinstance(model, fastgru.Model)
    assert (model.threads, model.precision) == (2, "float32")
    assert model.graph.states == {"h0_0": "h_n_0", "h0_1": "h_n_1"}
    assert np.array_equal(net.to_model()(x), net(x))


def test_verify_takes_whatever_runs():
    for net in (network(), network("float64"), network("bfloat16"), gru(), network().to_model(), network().to_graph()):
        report = fastgru.verify(net)
        assert report.holds, report
        assert report.checks
    assert fastgru.verify(network("bfloat16")).precision == "bfloat16"
    assert fastgru.verify(network().to_model(initial_state=True)).holds
    assert fastgru.verify(network(), precision="int8").precision == "int8"
    with pytest.raises(fastgru.UnsupportedModelError, match="key: these options are for reading a file"):
        fastgru.verify(network(), key="a")


def test_quantize_takes_a_network():
    net, x = network(), normal(5, 2, I)
    report = fastgru.quantize(net, precision="int8")
    assert np.array_equal(report.model(x), network("int8")(x))
    streaming = fastgru.quantize(net.to_model(initial_state=True), precision="int8").model.stream(2)
    assert np.array_equal(streaming.push(x), network("int8")(x))


def test_a_network_is_served():
    pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
    from fastgru.serve.assembly import Assembly
    from fastgru.serve.settings import Settings

    repository = Assembly({"net": network(), "tanh": Tanh()}, Settings(capacity=4)).repository
    assert repository.get("net").is_stateful
    assert not repository.get("tanh").is_stateful
