"""Finds the GRUs in a state dict by torch's names for their tensors and by the shapes.

`fastgru.load` uses it for its message about files that have weights but no model.

torch.nn.GRU: `<prefix>.weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, with `_reverse` for the second
direction and `_l1`, `_l2`... for further layers. torch.nn.GRUCell: the same names without `_l0`.
"""

import json
import re
from collections.abc import Mapping
from itertools import product
from typing import Any, Final, NoReturn

import numpy as np

from fastgru.errors import WeightsAloneError
from fastgru.importers.files import FORMATS
from fastgru.importers.weights.mapping import Weights
from fastgru.importers.weights.read import read_weights
from fastgru.records import dataclass
from fastgru.sources import Source, opened

__all__ = ["FoundGRU", "find_grus", "refuse_state_dict"]

SHOWN: Final = 8

_NAME: Final = re.compile(
    r"(?:(?P<prefix>.*)\.)?(?P<kind>weight|bias)_(?P<side>ih|hh)(?:_l(?P<layer>\d{1,4}))?(?P<rev>_reverse)?"
)


# (weight or bias, ih or hh, layer, reverse) -> shape
_Group = dict[tuple[str, str, int | None, bool], tuple[int, ...]]


@dataclass(frozen=True)
class FoundGRU:
    """A GRU of a state dict: its prefix ("" at the outermost level) and the properties that names and shapes show.

    cell: True for torch.nn.GRUCell, whose tensors have no layer number in their names.
    """

    prefix: str
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    cell: bool = False

    def __str__(self) -> str:
        parts = [f"{self.input_size} -> {self.hidden_size}"]
        parts += [f"{self.num_layers} layers"] if self.num_layers > 1 else []
        parts += ["bidirectional"] if self.bidirectional else []
        parts += [] if self.bias else ["no bias"]
        return f"{'GRUCell' if self.cell else 'GRU'} {self.prefix!r} ({', '.join(parts)})"

    @property
    def recipe(self) -> str:
        """The call that makes this GRU."""
        kind = "GRUCell" if self.cell else "GRU"
        return f'fastgru.{kind}.from_torch(weights, prefix="{self.prefix}")'


def find_grus(weights: Mapping[str, Any]) -> list[FoundGRU]:
    """Return every GRU whose tensors are all present with matching shapes, in the order of the tensors.

    weights: arrays, or their shapes, by name.

    LSTMs and plain RNNs have the same names, but 4 H or H rows instead of 3 H: they are not listed. No tensor is marked
    as read.
    """
    shapes = (
        {name: shape for name, (_, shape) in weights.specs.items()}
        if isinstance(weights, Weights)
        else {name: a if isinstance(a, tuple) else np.shape(a) for name, a in weights.items()}
    )
    groups: dict[str, _Group] = {}
    for name, shape in shapes.items():
        if match := _NAME.fullmatch(name):
            layer = None if match["layer"] is None else int(match["layer"])
            entry = (match["kind"], match["side"], layer, bool(match["rev"]))
            groups.setdefault(match["prefix"] or "", {})[entry] = shape
    found = [_describe(prefix, group) for prefix, group in groups.items()]
    return [gru for gru in found if gru is not None]


def _describe(prefix: str, group: _Group) -> FoundGRU | None:
    cell = ("weight", "ih", None, False) in group
    first = None if cell else 0
    weight_ih, weight_hh = (group.get(("weight", side, first, False), ()) for side in ("ih", "hh"))
    if len(weight_ih) != 2 or len(weight_hh) != 2:
        return None
    I, H = weight_ih[1], weight_hh[1]
    bidirectional = ("weight", "ih", first, True) in group
    bias = ("bias", "ih", first, False) in group
    num_layers = 1 if cell else 1 + max(layer for _, _, layer, _ in group if layer is not None)
    expected: _Group = {}
    for layer, reverse in product(range(num_layers), (False, True)[: 1 + bidirectional]):
        label, rows = None if cell else layer, I if layer == 0 else H * (1 + bidirectional)
        sides = {"ih": (3 * H, rows), "hh": (3 * H, H)}
        expected |= {("weight", side, label, reverse): shape for side, shape in sides.items()}
        expected |= {("bias", side, label, reverse): (3 * H,) for side in sides if bias}
        if len(expected) > len(group):
            return None
    if expected != group or I < 1 or H < 1:
        return None
    return FoundGRU(prefix, I, H, num_layers, bidirectional, bias, cell)


def refuse_state_dict(source: Source, key: str | None = None) -> NoReturn:
    """Raise `WeightsAloneError` that names the GRUs in `source` and how to make them, or an error of `read_weights`."""
    weights = read_weights(source, key=key)
    with opened(source) as content:
        path = weights.source.strip("'") if content.path is None else content.path
    grus = find_grus(weights)
    message = (
        f"{weights.source}: this is {FORMATS[weights.format]}, with {len(weights)} tensors and no model around them:"
        " what happens between its layers is not in the file."
    )
    if not grus:
        raise WeightsAloneError(
            f"{message} No tensors have the names of a torch.nn.GRU. Describe the network with"
            " fastgru.load(..., architecture=...), or read the tensors with fastgru.read_weights and make the layers"
            " with fastgru.GRU.from_torch, from_keras, from_onnx or from_gates"
        )
    listed = "; ".join(map(str, grus[:SHOWN])) + (f"; and {len(grus) - SHOWN} more" if len(grus) > SHOWN else "")
    read = f"fastgru.read_weights({json.dumps(path, ensure_ascii=False)}{'' if key is None else f', key={key!r}'})"
    recipe = grus[0].recipe.replace("(weights,", f"({read},")
    raise WeightsAloneError(
        f"{message} It holds {listed}. Make a layer of one with {recipe}, describe the network with"
        " fastgru.load(..., architecture=...), or export it to ONNX"
    )
