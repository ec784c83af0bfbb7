"""State dicts with the names of torch.nn.GRU, and what torch.nn.GRU computes from them, in NumPy.

The formula is written out here once more, so that the layers are not tested against code they share.
"""

from __future__ import annotations

import numpy as np


def state_dict(rng, input_size, hidden_size, num_layers=1, *, bidirectional=False, bias=True, prefix="", scale=0.5):
    state = {}
    for layer in range(num_layers):
        width = input_size if layer == 0 else hidden_size * (1 + bidirectional)
        for suffix in ("", "_reverse")[: 1 + bidirectional]:
            shapes = {"weight_ih": (3 * hidden_size, width), "weight_hh": (3 * hidden_size, hidden_size)}
            if bias:
                shapes.update(bias_ih=(3 * hidden_size,), bias_hh=(3 * hidden_size,))
            for name, shape in shapes.items():
                state[f"{prefix}{name}_l{layer}{suffix}"] = scale * rng.standard_normal(shape)
    return state


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def one_direction(state, tail, x, h, *, backward):
    """x (T, I) of one row -> y (T, H) and the last state."""
    W, R = (state[f"weight_{side}{tail}"] for side in ("ih", "hh"))
    b_i, b_h = (state.get(f"bias_{side}{tail}", np.zeros(len(W))) for side in ("ih", "hh"))
    H = len(h)
    y = np.zeros((len(x), H))
    for t in range(len(x))[:: -1 if backward else 1]:
        a, b = W @ x[t] + b_i, R @ h + b_h
        r, z = sigmoid(a[:H] + b[:H]), sigmoid(a[H : 2 * H] + b[H : 2 * H])
        h = (1 - z) * np.tanh(a[2 * H :] + r * b[2 * H :]) + z * h
        y[t] = h
    return y, h


def torch_gru(state, x, h0=None, lengths=None):
    """x (T, N, I) -> y (T, N, D * H) and h_n (L * D, N, H), each row on its own."""
    T, N, _ = x.shape
    num_layers = 1 + max(int(k.split("_l")[1].split("_")[0]) for k in state)
    suffixes = ("", "_reverse") if any(k.endswith("_reverse") for k in state) else ("",)
    D, H = len(suffixes), state["weight_hh_l0"].shape[1]
    y, h_n = np.zeros((T, N, D * H)), np.zeros((num_layers * D, N, H))
    for n in range(N):
        rows = x[: T if lengths is None else lengths[n], n]
        for layer in range(num_layers):
            outs = []
            for d, suffix in enumerate(suffixes):
                start = np.zeros(H) if h0 is None else h0[D * layer + d, n]
                out, h_n[D * layer + d, n] = one_direction(state, f"_l{layer}{suffix}", rows, start, backward=d == 1)
                outs.append(out)
            rows = np.concatenate(outs, axis=1)
        y[: len(rows), n] = rows
    return y, h_n
