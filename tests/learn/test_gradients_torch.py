"""Gradients against torch's autograd, where torch is installed."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
from fastgru import learn

torch = pytest.importorskip("torch", reason="needs torch, whose autograd is the oracle")


def close(found, expected, bound, lost=0.0):
    """To `bound` of the largest entry of the tensor, and to what `lost` allows besides."""
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max() + lost + np.finfo(np.float64).tiny


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-10), ("float32", 1e-4)])
@pytest.mark.parametrize("N", [1, 3, 32])
@pytest.mark.parametrize(
    ("H", "layers", "bidirectional", "bias"),
    [
        (1, 1, True, True),
        (7, 2, True, True),
        (16, 1, True, False),
        (33, 3, False, True),
        (64, 1, False, True),
        (256, 1, False, False),
    ],
)
def test_classes_of_every_step(H, layers, bidirectional, bias, N, dtype, bound):
    torch.manual_seed(H + N)
    kind = getattr(torch, dtype)
    D = 2 if bidirectional else 1
    net = torch.nn.ModuleList([
        torch.nn.Embedding(11, 9), torch.nn.GRU(9, H, layers, bias=bias, bidirectional=bidirectional),
        torch.nn.LayerNorm(D * H), torch.nn.Linear(D * H, 11),
    ]).to(kind)  # fmt: skip
    ids, targets = torch.randint(0, 11, (2, 10, N))

    def theirs():
        net.zero_grad()
        y = net[3](net[2](net[1](net[0](ids))[0]))
        loss = torch.nn.functional.cross_entropy(y.reshape(-1, 11), targets.reshape(-1), reduction="sum")
        loss.backward()
        return loss, {name: p.grad.numpy().copy() for name, p in net.named_parameters()}

    loss, gradients = theirs()
    weights = {name: p.detach().numpy().copy() for name, p in net.named_parameters()}
    options = {"precision": dtype}
    mine = fastgru.Sequential(
        fastgru.Embedding.from_torch(weights, "0", **options), fastgru.GRU.from_torch(weights, "1", **options),
        fastgru.LayerNorm.from_torch(weights, "2", **options), fastgru.Linear.from_torch(weights, "3", **options),
    )  # fmt: skip
    found = learn.gradients(mine, ids.numpy(), targets.numpy(), dtype=dtype)
    assert found.loss == pytest.approx(loss.item(), rel=max(bound, 1e-12))
    assert set(found.weights) == set(weights), "the names are those of torch"
    net.double()  # a gradient in which terms cancel has few digits in float32, in torch as well
    for name, exact in theirs()[1].items():
        close(found.weights[name], exact, bound, 4 * np.abs(gradients[name] - exact).max())


@pytest.mark.parametrize("T", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_long_sequences_with_an_initial_state(T):
    torch.manual_seed(T)
    net = torch.nn.GRU(5, 16, batch_first=True).double()
    x, h0 = torch.randn(3, T, 5).double().requires_grad_(), torch.randn(1, 3, 16).double().requires_grad_()
    targets = torch.randn(3, T, 16).double()
    ((net(x, h0)[0] - targets) ** 2).mean().backward()
    mine = fastgru.GRU.from_torch(
        {k: v.detach().numpy() for k, v in net.named_parameters()}, batch_first=True, precision="float64"
    )
    feeds = {"x": x.detach().numpy(), "h0": h0.detach().numpy()}
    found = learn.gradients(mine, feeds, targets.numpy(), loss="squared_error", reduction="mean")
    for name, parameter in net.named_parameters():  # torch's mean is also over the outputs of a step
        close(found.weights[name] / 16, parameter.grad.numpy(), 1e-10)
    close(found.inputs["x"] / 16, x.grad.numpy(), 1e-10)
    close(found.inputs["h0"] / 16, h0.grad.numpy(), 1e-10)


def test_rows_of_their_own_lengths():
    torch.manual_seed(3)
    net = torch.nn.GRU(4, 6, bidirectional=True, batch_first=True).double()
    x, lengths = torch.randn(4, 9, 4).double().requires_grad_(), torch.tensor([9, 3, 5, 1])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(net(packed)[0], batch_first=True)
    targets = torch.randn(4, 9, 12).double()
    within = torch.arange(9)[None] < lengths[:, None]
    (torch.abs(y - targets).sum(-1) * within).sum().backward()
    mine = fastgru.GRU.from_torch(
        {k: v.detach().numpy() for k, v in net.named_parameters()}, batch_first=True, precision="float64"
    )
    found = learn.gradients(mine, x.detach().numpy(), targets.numpy(), loss="absolute_error", lengths=lengths.numpy())
    for name, parameter in net.named_parameters():
        close(found.weights[name], parameter.grad.numpy(), 1e-10)
    close(found.inputs["x"], x.grad.numpy(), 1e-10)


@pytest.mark.parametrize("layer", ["ReLU", "ELU", "LeakyReLU", "SELU", "Hardswish", "Hardsigmoid", "Sigmoid", "Tanh",
                                   "Softsign", "GELU", "SiLU", "Softplus"])  # fmt: skip
def test_slopes_of_activations_even_at_their_kinks(layer):
    x = torch.tensor([-7.0, -3, -1, -0.3, 0, 0.3, 1, 3, 7]).double().requires_grad_()
    theirs = getattr(torch.nn, layer)()
    theirs(x).sum().backward()
    mine = getattr(fastgru, layer)(precision="float64")
    given = x.detach().numpy()
    found = learn.gradients(mine, given, np.zeros_like(given), loss=lambda y, t: (y.sum(-1), np.ones_like(y)))
    np.testing.assert_allclose(found.inputs["x"], x.grad.numpy(), rtol=0, atol=1e-8)  # torch has 1 / 6 in float32
