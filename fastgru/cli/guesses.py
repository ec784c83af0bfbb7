"""Guesses GRUs in a state dict with other names than torch's: by the names of Keras, or else by shapes.

Keras: kernel (I, 3H), recurrent kernel (H, 3H), bias (2, 3H) or (3H,). Torch's layout under other names: (3H, I),
(3H, H), (3H,), (3H,). Shapes tell neither the order of the gates nor the activations, so a GRU found by shapes is only
a proposal. If the file has Keras's configuration of the layer, the proposal has its arguments.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from fastgru.cli.configured import ConfiguredGRU

__all__ = ["guess_grus"]

Shape = tuple[int, ...]

# Arguments of a Keras GRU that `GRU.from_keras` takes, with its defaults.
_ARGUMENTS: Final = {
    "reset_after": True,
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "go_backwards": False,
}


def guess_grus(specs: Mapping[str, tuple[str, Shape]], configured: Sequence[ConfiguredGRU]) -> list[dict[str, Any]]:
    """Return for each GRU input_size, hidden_size, the names of its arrays, and a call that makes a layer of them.

    configured: the result of `configured_grus` for the file. certain: True for these GRUs. For the others only shapes
    are known, which tell neither the order of gates nor the activations, and without a bias not the form of the reset.
    """
    shapes = {name: shape for name, (_, shape) in specs.items()}
    found, rest = [], dict(shapes)
    for gru in configured:
        if gru.arrays and all(len(rest.get(name, ())) == 2 for name in gru.arrays[:2]):
            w, r, *bias = gru.arrays
            if not gru.is_cudnn:  # cuDNN has the gates in another order, and transposed
                found.append({**_keras(w, r, bias, shapes, gru.arguments, H=shapes[r][0]), "certain": True})
            for name in filter(rest.__contains__, gru.arrays):
                del rest[name]
    return found + [{**guess, "certain": False} for guess in _guessed(rest, configured)]


def _guessed(shapes: Mapping[str, Shape], configured: Sequence[ConfiguredGRU]) -> list[dict[str, Any]]:
    names = list(shapes)
    found = _keras_1(shapes, {str(gru.arguments.get("name")): gru.arguments for gru in configured})
    taken: set[str] = set()
    for i, (w, r) in enumerate(pairwise(names)):
        if len(shapes[w]) != 2 or len(shapes[r]) != 2 or taken & {w, r}:
            continue
        rows, columns = shapes[r]
        # HDF5 sorts names: a bias comes before its kernels, or after them if names are numbers.
        near = [name for name in (*names[i + 2 : i + 4], *names[max(i - 1, 0) : i]) if _parent(name) == _parent(r)]
        if columns == 3 * rows and shapes[w][1] == columns and _parent(w) == _parent(r) and "bias" not in _last(w):
            bias = [name for name in near if shapes[name] in ((3 * rows,), (2, 3 * rows))][:1]
            found.append(_keras(w, r, bias, shapes, {}, H=rows))
        elif rows == 3 * columns and shapes[w][0] == rows:
            found.append(_torch(w, r, near, shapes, H=columns))
        else:
            continue
        taken.update(found[-1]["names"])
    return found


def _last(name: str) -> str:
    return re.split(r"[./]", name)[-1]


def _settings(name: str, configurations: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    none: Mapping[str, Any] = {}
    return next((configurations[part] for part in reversed(name.split("/")) if part in configurations), none)


def _keras_1(shapes: Mapping[str, Shape], configurations: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Find the nine arrays of a GRU of Keras 1 by their names: gru_1_W_z, gru_1_U_z, gru_1_b_z, gru_1_W_r..."""
    found = []
    for name, shape in shapes.items():
        stem, middle, end = name.rpartition("W_z")
        rows = [[f"{stem}{kind}_{gate}{end}" for gate in "zrh"] for kind in "WUb"]
        names = [one for row in rows for one in row]
        if not middle or len(shape) != 2 or not all(one in shapes for one in names):
            continue
        I, H = shape
        if [shapes[one] for one in names] != [(I, H)] * 3 + [(H, H)] * 3 + [(H,)] * 3:
            continue
        given = _settings(name, configurations)
        gate, candidate = given.get("inner_activation", "hard_sigmoid"), given.get("activation", "tanh")
        arguments = [f"[{', '.join(f'weights[{one!r}]' for one in row)}]" for row in rows]
        arguments += ["reset_after=False", f"recurrent_activation={gate!r}", "keras_version=1"]
        arguments += [f"activation={candidate!r}"] if candidate != "tanh" else []
        arguments += ["go_backwards=True"] if given.get("go_backwards") is True else []
        recipe = f"fastgru.GRU.from_keras({', '.join(arguments)})"
        found.append({"names": names, "input_size": I, "hidden_size": H, "recipe": recipe})
    return found


def _parent(name: str) -> str:
    return re.split(r"[./][^./]*$", name)[0] if re.search(r"[./]", name) else ""


def _keras(
    w: str, r: str, bias: Sequence[str], shapes: Mapping[str, Shape], settings: Mapping[str, Any], *, H: int
) -> dict[str, Any]:
    arguments = [f"weights[{name!r}]" for name in (w, r, *bias)]
    before = bool(bias) and shapes[bias[0]] == (3 * H,)
    given = {"reset_after": not before, **{k: v for k, v in settings.items() if k in _ARGUMENTS}}
    changed = [f"{name}={given[name]!r}" for name, usual in _ARGUMENTS.items() if given.get(name, usual) != usual]
    if any("hard_sigmoid" in part or "leaky_relu" in part for part in changed):
        changed.append(f"keras_version={settings['keras_version']}")
    return {
        "names": [w, r, *bias],
        "input_size": shapes[w][0],
        "hidden_size": H,
        "recipe": f"fastgru.GRU.from_keras({', '.join([*arguments, *changed])})",
    }


def _torch(w: str, r: str, near: list[str], shapes: Mapping[str, Shape], *, H: int) -> dict[str, Any]:
    biases = [name for name in near if shapes[name] == (3 * H,)][:2]
    names = (w, r, *sorted(biases, key=list(shapes).index)) if len(biases) == 2 else (w, r)
    keys = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    entries = ", ".join(f'"{key}": weights[{name!r}]' for key, name in zip(keys, names, strict=False))
    return {
        "names": list(names),
        "input_size": shapes[w][1],
        "hidden_size": H,
        "recipe": f"fastgru.GRU.from_torch({{{entries}}})",
    }
