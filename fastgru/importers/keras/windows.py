"""What convolutions and pools share: the axis of the channels, and windows that slide over one or two axes.

In Keras the channels are last unless a layer says otherwise; in the operators of this package they are second. The
transposes between the two layouts are views.
"""

from collections.abc import Sequence
from typing import Any, Self

from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.records import dataclass

__all__ = ["LayerWindows", "SpatialInput", "numbers"]

Shape = tuple[int | None, ...]


def numbers(layer: LayerConfig, rank: int, *names: str, default: int | None = None, least: int = 1) -> list[int]:
    """Return one number for each of `rank` axes; a single number in the file counts for all of them."""
    value = layer.integers(*names) if default is None else layer.integers(*names, default=default)
    each = list(value) * rank if len(value) == 1 else list(value)
    if len(each) != rank or min(each) < least:
        raise layer.damaged(f"{names[0]} is {list(value)}, expected {rank} numbers of at least {least}")
    return each


@dataclass(frozen=True)
class SpatialInput:
    """An input with `rank` spatial axes, and the position of its channels."""

    call: Call
    x: Tensor
    rank: int
    channels_last: bool

    @classmethod
    def of(cls, call: Call) -> Self:
        """Describe the only input of a layer; its class gives the rank. Raises `InvalidModelError` for another rank."""
        layer, x = call.layer, call.x
        rank = 2 if "2D" in layer.class_name else 1
        form = layer.get("data_format", "dim_ordering", default=None)
        known = {None: True, "channels_last": True, "tf": True, "channels_first": False, "th": False}
        if not isinstance(form, str | None) or form not in known:
            raise layer.damaged(f"data_format is {form!r:.40}, expected channels_last or channels_first")
        if x.rank != rank + 2:
            raise layer.damaged(f"its input has shape {x.shape}, expected {rank + 2} axes")
        return cls(call, x, rank, known[form])

    @property
    def channel_axis(self) -> int:
        return self.rank + 1 if self.channels_last else 1

    @property
    def axes(self) -> list[int]:
        """The spatial axes of the input."""
        return [n + (1 if self.channels_last else 2) for n in range(self.rank)]

    @property
    def spatial(self) -> Shape:
        return tuple(self.x.shape[a] for a in self.axes)

    @property
    def channels(self) -> int:
        """The number of channels of the input; an error if the file leaves it free."""
        return self.call.known(self.x, self.channel_axis)

    def enter(self) -> Value:
        """Return the input as (N, C, ...)."""
        if not self.channels_last:
            return self.x.value
        perm = [0, self.rank + 1, *range(1, self.rank + 1)]
        return self.call.graph.add("transpose", [self.x.value], f"{self.call.base}/channels_first", {"perm": perm})

    def leave(self, value: Value) -> Tensor:
        """Move the channels of `value` (N, C, ...) to where the input has them; the result has no mask."""
        if self.channels_last:
            perm = [0, *range(2, self.rank + 2), 1]
            value = self.call.graph.add("transpose", [value], self.call.base, {"perm": perm})
        return Tensor(value)


@dataclass(frozen=True)
class LayerWindows:
    """How a window slides: taps, strides and dilations by axis, and its padding.

    same: whether the padding is "same_upper". begin: the causal padding before the first axis.
    """

    taps: list[int]
    strides: list[int]
    dilations: list[int]
    same: bool
    begin: int = 0

    @classmethod
    def of(
        cls, layer: LayerConfig, taps: Sequence[int], strides: list[int], dilations: list[int], *, causal: bool
    ) -> Self:
        """Return the windows with the layer's padding. Raises `UnsupportedModelError` for an unknown padding."""
        kind = layer.get("padding", "border_mode", default="valid")
        if kind == "causal" and causal:
            return cls(list(taps), strides, dilations, False, dilations[0] * (taps[0] - 1))
        if kind not in ("valid", "same"):
            raise layer.unsupported(f"padding is {kind!r:.40}", f"use valid or same{', causal' if causal else ''}")
        return cls(list(taps), strides, dilations, kind == "same")

    def attrs(self) -> dict[str, Any]:
        pads: list[int] | str = [0] * (2 * len(self.taps))
        if self.same:
            pads = "same_upper"
        elif self.begin:
            pads = [self.begin, 0]
        return {"strides": self.strides, "dilations": self.dilations, "pads": pads}

    def uneven(self, spatial: Shape) -> bool:
        """Return whether "same" pads one end more than the other, or may do so for sizes that the file leaves free."""
        for n, k, s, d in zip(spatial, self.taps, self.strides, self.dilations, strict=True):
            reach = (k - 1) * d + 1
            total = None if n is None else max((-(-n // s) - 1) * s + reach - n, 0)
            total = reach - 1 if s == 1 else total
            if self.same and (reach > 1 if total is None else total % 2):
                return True
        return False

    def check(self, layer: LayerConfig, spatial: Shape) -> None:
        """Raise `InvalidModelError` if the window is larger than the input."""
        for n, k, d in zip(spatial, self.taps, self.dilations, strict=True):
            reach = (k - 1) * d + 1
            if n is not None and not self.same and n + self.begin < reach:
                raise layer.damaged(f"its window reaches over {reach} elements, the input has {n}")
