"""GRU cells that an exporter writes node by node: forecasts from series with gaps, and sound sample by sample."""

import numpy as np

from fastgru.bench.networks.writer import Linear, Writer

__all__ = ["forecaster", "forecaster_step", "sampler"]


class _Decay:
    """GRU-D (Che et al. 2018): a missing value decays from its last value to the mean, and the state decays as well."""

    def __init__(self, w: Writer, F: int, H: int) -> None:
        self.rate, self.bias, self.mean = w.weight(F, fan=1), w.weight(F, fan=1), w.weight(F, fan=1)
        self.decay: Linear = w.linear(F, H)
        self.layers = w.cell_layer(2 * F, H)

    def step(
        self, w: Writer, x: str, mask: str, gap: str, last: str, h: str, *, names: tuple[str | None, str | None]
    ) -> tuple[str, str]:
        """x, mask, gap, last (1, F), h (1, H) -> last and h, with these names if they are given."""
        one = w.constant(1.0)
        last = w.node("Where", w.node("Greater", mask, w.constant(0.0)), x, last, to=names[0])
        rate = w.node("Add", w.node("Mul", gap, self.rate), self.bias)
        gamma = w.node("Exp", w.node("Neg", w.node("Relu", rate)))
        seen, unseen = w.node("Mul", mask, x), w.node("Sub", one, mask)
        kept, rest = w.node("Mul", gamma, last), w.node("Mul", w.node("Sub", one, gamma), self.mean)
        filled = w.node("Add", seen, w.node("Mul", unseen, w.node("Add", kept, rest)))
        fade = w.node("Exp", w.node("Neg", w.node("Relu", w.rows(gap, self.decay))))
        h = w.node("Mul", h, fade)
        return last, w.cell(w.node("Concat", filled, mask, axis=-1), h, self.layers, to=names[1])


def forecaster_step(F: int = 33, H: int = 64) -> bytes:
    """x, mask, gap (1, F) -> forecast (1, F); the last values and the state are states of the model."""
    w = Writer("forecaster_step", 7)
    x, mask, gap, last = (w.input(name, 1, F) for name in ("x", "mask", "gap", "last"))
    _, h = _Decay(w, F, H).step(w, x, mask, gap, last, w.input("h", 1, H), names=("last_out", "h_out"))
    w.rows(h, w.linear(H, F), to="y")
    return w.model(y=(1, F), last_out=(1, F), h_out=(1, H))


def forecaster(T: int = 24, F: int = 33, H: int = 64) -> bytes:
    """x, mask, gap (1, T, F) -> forecast (1, F), with the loop over T unrolled, as exporters do."""
    w = Writer("forecaster", 8)
    series = [w.input(name, 1, T, F) for name in ("x", "mask", "gap")]
    cell = _Decay(w, F, H)
    last, h = w.constant(np.zeros((1, F))), w.constant(np.zeros((1, H)))
    for t in range(T):
        x, mask, gap = (w.node("Gather", name, w.constant(t, np.int64), axis=1) for name in series)
        last, h = cell.step(w, x, mask, gap, last, h, names=(None, None))
    w.rows(h, w.linear(H, F), to="y")
    return w.model(y=(1, F))


def sampler(conditions: int = 80, H: int = 256, inner: int = 256, levels: int = 256) -> bytes:
    """sample (1, 1), condition (1, conditions) -> probabilities (1, levels) of the next sample, as in WaveRNN."""
    w = Writer("sampler", 9)
    sample, condition, h = w.input("sample", 1, 1), w.input("condition", 1, conditions), w.input("h", 1, H)
    x = w.rows(w.node("Concat", sample, condition, axis=1), w.linear(conditions + 1, H))
    h = w.cell(x, h, w.cell_layer(H, H), to="h_out")
    y = w.node("Concat", w.node("Add", x, h), condition, axis=1)
    y = w.node("Relu", w.rows(y, w.linear(H + conditions, inner)))
    w.node("Softmax", w.rows(y, w.linear(inner, levels, gain=8)), to="probabilities", axis=1)
    return w.model(probabilities=(1, levels), h_out=(1, H))
