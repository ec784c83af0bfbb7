"""Layers one after the other, run as one graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import ArrayLike

from fastgru.budget import PLAN_BYTES
from fastgru.errors import ShapeError, SpecError
from fastgru.graph import Array
from fastgru.kinds import way_round
from fastgru.layers.base import Layer, NetworkBuilder, Value

__all__ = ["Sequential"]


class Sequential(Layer):
    """Layers one after another: y = layers[-1](... layers[0](x)).

    A GRU passes its output y to the next layer, without its last state h_n.

    precision, threads, spin_us: for all layers, see `Layer`. None takes the values of the layers, which must then be
        equal.
    plan_bytes: see `Layer`.

    Raises `SpecError` if there is no layer, if an argument is not a layer, or if the layers disagree.
    """

    def __init__(
        self,
        *layers: Layer,
        precision: str | None = None,
        threads: int | None = None,
        spin_us: float | None = None,
        plan_bytes: int = PLAN_BYTES,
    ) -> None:
        odd = [layer for layer in layers if not isinstance(layer, Layer)]
        if odd or not layers:
            way = way_round(odd[0]) if odd else ""
            if len(layers) == 1 and isinstance(layers[0], list | tuple):
                way = ": write Sequential(*layers)"
            came = ", ".join(type(layer).__name__ for layer in layers) or "none"
            raise SpecError(f"Sequential: expected layers, got {came}{way}")
        super().__init__(
            precision=_agreed("precision", layers) if precision is None else precision,
            threads=_agreed("threads", layers) if threads is None else threads,
            spin_us=_agreed("spin_us", layers) if spin_us is None else spin_us,
            plan_bytes=plan_bytes,
        )
        self.layers = tuple(layers)
        head = next((layer for layer in layers if layer.input_size or layer.takes_ids), layers[0])
        self.takes_ids, self.input_size = head.takes_ids, head.input_size
        self.takes_lengths = any(layer.takes_lengths for layer in layers)
        self.batch_first = next((layer.batch_first for layer in layers if layer.batch_first is not None), None)
        deepest = max((layer.default_rank for layer in layers), default=2)
        self.default_rank = deepest - 1 if self.takes_ids and deepest > 2 else deepest

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        for k, layer in enumerate(self.layers):
            first = next(
                i for i, one in enumerate(self.layers) if one is layer
            )  # a layer that occurs twice has its weights once
            try:
                with graph.scope(str(first)):
                    x = layer.emit(graph, x, lengths if layer.takes_lengths else None)
            except ShapeError as error:
                raise ShapeError(f"layer {k} of {len(self.layers)}: {error}") from None
        return x

    def __call__(self, x: ArrayLike, lengths: ArrayLike | None = None) -> Array:
        """Run the layers, and return the output of the last one.

        lengths: (N,) integers from 0 to T, the number of valid steps of each row, for every GRU and `LastStep`.

        Raises `ShapeError` if x or lengths does not fit, or if a layer does not fit the one before.
        """
        return self._run(x, lengths)

    def needs_last_frame(self) -> bool:
        return any(layer.needs_last_frame() for layer in self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def _summary(self) -> str:
        return ", ".join(repr(layer) for layer in self.layers)


def _agreed(name: str, layers: tuple[Layer, ...]) -> Any:
    values = {getattr(layer, name) for layer in layers}
    if len(values) > 1:
        each = ", ".join(f"{type(layer).__name__} {getattr(layer, name)}" for layer in layers)
        raise SpecError(f"Sequential: {name} differs ({each}); give Sequential {name}= for all of them")
    return values.pop()
