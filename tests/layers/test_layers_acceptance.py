"""Networks of others, composed by hand from their state dicts."""

from __future__ import annotations

import numpy as np
from torch_gru import torch_gru

from fastgru.importers.weights import find_grus, read_weights
from fastgru.layers import GRU, Embedding, GRUCell, Linear, Sequential

MICROKERNELS = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
END_OF_WORD, START, STOP = 2, 2, 3


def test_g2p(runner, shared_models):
    """Every word's encoder state, logits and phonemes: one GRU reads the letters, a cell writes the phonemes."""
    weights = read_weights(shared_models / "g2p" / "checkpoint20.npz")
    golden = np.load(shared_models / "g2p" / "golden.npz")
    encoder = Sequential(
        Embedding(weights["enc_emb"]),
        GRU.from_torch({f"{part}_l0": weights[f"enc_{key}"] for part, key in MICROKERNELS.items()}),
    )
    table = Embedding(weights["dec_emb"])
    decoder = GRUCell.from_torch({part: weights[f"dec_{key}"] for part, key in MICROKERNELS.items()})
    fc = Linear(weights["fc_w"], weights["fc_b"])
    for word in golden["words"]:
        letters = np.array([3 + ord(c) - ord("a") for c in word] + [END_OF_WORD])
        h = encoder(letters)[-1:]
        np.testing.assert_allclose(h, golden[f"{word}_enc"], rtol=0, atol=1e-4)
        token, logits = START, []
        while len(logits) < 20 and not (logits and token == STOP):
            h = decoder(table(np.array([token])), h)
            logits.append(fc(h)[0])
            token = int(np.argmax(logits[-1]))
        np.testing.assert_allclose(logits, golden[f"{word}_logits"], rtol=0, atol=1e-4)
        assert [int(np.argmax(row)) for row in logits if np.argmax(row) != STOP] == golden[f"{word}_phon"].tolist()
    weights.check_all_read()


def test_rtneural_state_dict(runner, shared_models):
    folder = shared_models / "rtneural"
    with read_weights(folder / "gru_torch.json") as weights:
        net = Sequential(
            GRU.from_torch(weights, "gru"), GRU.from_torch(weights, "gru2"), Linear.from_torch(weights, "dense")
        )
    x = np.loadtxt(folder / "gru_torch_x_python.csv", delimiter=",", ndmin=2).reshape(-1, 1)
    y = np.loadtxt(folder / "gru_torch_y_python.csv", delimiter=",", ndmin=2).reshape(-1, 1)
    np.testing.assert_allclose(net(x), y, rtol=0, atol=1e-6)


def test_gtcrn_by_prefix(runner, shared_models):
    weights = read_weights(shared_models / "gtcrn" / "model_trained_on_dns3.tar")
    found = find_grus(weights)
    assert len(found) == 14
    rng = np.random.default_rng(0)
    for one in found:
        gru = GRU.from_torch(weights, one.prefix, precision="float64")
        state = {k: np.float64(v) for k, v in weights.sub(one.prefix).items() if "." not in k}
        x = rng.standard_normal((7, 2, one.input_size))
        np.testing.assert_allclose(gru(x)[0], torch_gru(state, x)[0], rtol=0, atol=1e-12)
