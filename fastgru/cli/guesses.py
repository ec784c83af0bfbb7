"""GRUs in a state dict whose names say nothing, told by the shapes of tensors that follow one another.

Keras: kernel (I, 3H), recurrent kernel (H, 3H), bias (2, 3H) or (3H,). Torch's layout under other names: (3H, I),
(3H, H), (3H,), (3H,). Shapes tell neither the order of the gates nor the activations: what is found here is a proposal.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

__all__ = ["guess_grus"]

Shape = tuple[int, ...]


def guess_grus(specs: Mapping[str, tuple[str, Shape]]) -> list[dict[str, Any]]:
    """For each pair of tensors that fits: input_size, hidden_size, the names, and a call that makes a layer of them."""
    names = list(specs)
    shapes = {name: shape for name, (_, shape) in specs.items()}
    found = []
    for i, (w, r) in enumerate(pairwise(names)):
        if len(shapes[w]) != 2 or len(shapes[r]) != 2:
            continue
        rows, columns = shapes[r]
        following = [name for name in names[i + 2 : i + 4] if len(shapes[name]) in (1, 2)]
        if columns == 3 * rows and shapes[w][1] == columns:
            found.append(_keras(w, r, following, shapes, H=rows))
        elif rows == 3 * columns and shapes[w][0] == rows:
            found.append(_torch(w, r, following, shapes, H=columns))
    return found


def _keras(w: str, r: str, following: list[str], shapes: Mapping[str, Shape], *, H: int) -> dict[str, Any]:
    bias = following[:1] if following and shapes[following[0]] in ((3 * H,), (2, 3 * H)) else []
    before = bool(bias) and shapes[bias[0]] == (3 * H,)
    arguments = ", ".join(f"weights[{name!r}]" for name in (w, r, *bias))
    return {
        "names": [w, r, *bias],
        "input_size": shapes[w][0],
        "hidden_size": H,
        "recipe": f"fastgru.GRU.from_keras({arguments}{', reset_after=False' if before else ''})",
    }


def _torch(w: str, r: str, following: list[str], shapes: Mapping[str, Shape], *, H: int) -> dict[str, Any]:
    biases = following if len(following) == 2 and all(shapes[name] == (3 * H,) for name in following) else []
    keys = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    entries = ", ".join(f'"{key}": weights[{name!r}]' for key, name in zip(keys, (w, r, *biases), strict=False))
    return {
        "names": [w, r, *biases],
        "input_size": shapes[w][1],
        "hidden_size": H,
        "recipe": f"fastgru.GRU.from_torch({{{entries}}})",
    }
