"""Streams and pools of networks that are composed in Python: the bits of a call with all frames at once."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fastgru import (
    GRU,
    Embedding,
    GRUCell,
    GRUSpec,
    LastStep,
    LayerNorm,
    Linear,
    ReLU,
    Sequential,
    SessionPool,
)
from fastgru.errors import ShapeError, StateError, UnsupportedModelError

I, H, O = 5, 12, 3
T, N = 17, 4


def torch_weights(sizes: list[int] | None = None, *, bidirectional: bool = False) -> dict[str, np.ndarray]:
    """The state dict of a torch.nn.GRU whose layers have these inputs."""
    rng = np.random.default_rng(0)
    weights = {}
    for k, size in enumerate(sizes or [I]):
        for tail in ("", "_reverse") if bidirectional else ("",):
            for name, shape in (("weight_ih", (3 * H, size)), ("weight_hh", (3 * H, H)), ("bias_ih", (3 * H,))):
                weights[f"{name}_l{k}{tail}"] = rng.normal(0, 0.3, shape).astype(np.float32)
            weights[f"bias_hh_l{k}{tail}"] = rng.normal(0, 0.3, 3 * H).astype(np.float32)
    return weights


def linear(inputs: int = H) -> Linear:
    return Linear.from_torch({"weight": np.random.default_rng(1).normal(0, 0.3, (O, inputs)).astype(np.float32)})


def net(*, batch_first: bool = False, **options) -> Sequential:
    return Sequential(
        GRU.from_torch(torch_weights(), batch_first=batch_first),
        ReLU(),
        GRU.from_torch(torch_weights([H, H]), batch_first=batch_first),
        LayerNorm(H),
        linear(),
        precision=options.pop("precision", "float32"),
        threads=options.pop("threads", 1),
        **options,
    )


def frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "int8"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_network_in_chunks_is_the_network_at_once(precision, batch_first):
    network, axis = net(precision=precision, batch_first=batch_first), int(batch_first)
    x = frames(N, T, I) if batch_first else frames(T, N, I)
    want, stream = network(x), network.stream(N)
    assert (stream.inputs, stream.outputs) == (("x",), ("y",))
    for cuts in ([1], [1, 2, 3, 9], range(1, T)):
        stream.reset()
        parts = [stream.push(part) for part in np.split(x, cuts, axis)]
        np.testing.assert_array_equal(np.concatenate(parts, axis), want)
    assert want.dtype == (np.float64 if precision == "float64" else np.float32)


def test_a_gru_alone_has_the_states_of_its_layers_in_order():
    gru, x = GRU.from_torch(torch_weights([I, H])), frames(T, N, I)
    (y, h_n), stream = gru(x), gru.stream(batch_size=N)
    np.testing.assert_array_equal(np.concatenate([stream.push(frame) for frame in np.split(x, T)]), y)
    assert list(stream.state) == ["h0_0", "h0_1"]
    np.testing.assert_array_equal(np.concatenate(list(stream.state.values())), h_n)
    stream.set_state({"h0_0": h_n[:1], "h0_1": h_n[1:]})
    np.testing.assert_array_equal(stream.push(x), gru(x, h_n)[0])


def test_a_state_is_saved_taken_up_and_reset_row_by_row():
    network, x = net(), frames(T, N, I)
    want, stream = network(x), network.stream(N)
    stream.push(x[:6])
    whole, row = stream.save_state(), stream.save_state(row=2)
    rest, fork = stream.push(x[6:]), stream.fork()
    np.testing.assert_array_equal(rest, want[6:])
    later = pickle.loads(pickle.dumps(network)).stream(N)  # as another process would have it
    later.load_state(whole)
    np.testing.assert_array_equal(later.push(x[6:]), rest)
    alone = net().stream()
    alone.load_state(row)
    np.testing.assert_array_equal(alone.push(x[6:, 2:3]), want[6:, 2:3])
    fork.reset([1])
    again = fork.push(x[:6])
    np.testing.assert_array_equal(again[:, 1], want[:6, 1])
    assert not np.array_equal(again[:, 0], want[:6, 0])
    with pytest.raises(StateError, match="it belongs to another model"):
        Sequential(GRU.from_torch(torch_weights()), linear()).stream(N).load_state(whole)


def test_tokens_go_through_an_embedding():
    table = np.random.default_rng(2).standard_normal((20, I), dtype=np.float32)
    network = Sequential(Embedding.from_torch({"weight": table}), GRU.from_torch(torch_weights()), linear())
    ids = np.random.default_rng(3).integers(0, 20, (T, 1))
    stream = network.stream()
    np.testing.assert_array_equal(np.concatenate([stream.push(one) for one in np.split(ids, T)]), network(ids))


def test_a_cell_is_pushed_step_by_step():
    weights = {name.removesuffix("_l0"): a for name, a in torch_weights().items()}
    cell, x, h = GRUCell.from_torch(weights), frames(T, N, I), None
    stream = cell.stream(N)
    for step in x:
        h = cell(step, h)
        np.testing.assert_array_equal(stream.push(step), h)
    np.testing.assert_array_equal(stream.state["h0"][0], h)


def test_the_last_step_of_a_chunk():
    network, x = Sequential(GRU.from_torch(torch_weights()), LastStep(), linear()), frames(T, N, I)
    stream = network.stream(N)
    for chunk in np.split(x, [4, 5]):
        y = stream.push(chunk)
    np.testing.assert_array_equal(y, network(x))


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_pool_of_a_network(batch_first):
    network, x = net(batch_first=batch_first), frames(T, N, I)
    pool = SessionPool(network, 8)
    sessions = [pool.open() for _ in range(N)]
    streams = [network.stream() for _ in sessions]
    for chunk in np.split(x, [1, 2, 7]):
        parts = [np.ascontiguousarray(chunk[:, i : i + 1]) for i in range(N)]
        parts = [part.swapaxes(0, 1) if batch_first else part for part in parts]
        got = pool.push(dict(zip(sessions, parts, strict=True)))
        for session, stream, part in zip(sessions, streams, parts, strict=True):
            np.testing.assert_array_equal(got[session], stream.push(part))
    assert pool.save(sessions[1]) == streams[1].save_state()


def test_what_needs_the_last_frame_first_is_refused_by_name():
    both = GRU.from_torch(torch_weights(bidirectional=True))
    for layer in (both, Sequential(both, linear(2 * H)), Sequential(Sequential(both))):
        with pytest.raises(UnsupportedModelError, match=r"direction='bidirectional'.*whole sequences"):
            layer.stream()
    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((I, 3 * H)), rng.standard_normal((H, 3 * H))
    with pytest.raises(UnsupportedModelError, match="direction='reverse'"):
        GRU.from_keras(*kernels, reset_after=False, go_backwards=True).stream()
    forward = GRU.from_torch(torch_weights())
    with pytest.raises(UnsupportedModelError, match="last frame"):
        GRU([GRUSpec(I, H)], forward.weights, flip_output=True).stream()
    with pytest.raises(UnsupportedModelError, match="last frame"):
        SessionPool(both, 3)


def test_what_has_no_state_is_no_stream():
    for layer in (linear(), Sequential(ReLU(), linear())):
        with pytest.raises(StateError, match="no layer with a state"):
            layer.stream()
        with pytest.raises(StateError, match="no layer with a state"):
            SessionPool(layer, 3)
    for wrong in (0, -1, 1.5, True, None):
        with pytest.raises(ShapeError, match="batch_size"):
            net().stream(wrong)
