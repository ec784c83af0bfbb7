"""Checkpoints that torch itself writes: containers, nestings and foreign objects, each with each; torch is optional."""

from __future__ import annotations

import collections
import dataclasses
import enum
import itertools
import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import fastgru
from fastgru.cli import main

torch = pytest.importorskip("torch", reason="torch is not installed")
prune = pytest.importorskip("torch.nn.utils.prune", reason="torch is not installed")

RUN: list[str] = []  # what a reader would leave here if it built an object of a file


def foreign(name: str, base: type = object) -> type:
    """A class of a module that exists while the file is written; making one of its objects from a pickle shows."""

    module = sys.modules.setdefault("trainer_of_nobody", types.ModuleType("trainer_of_nobody"))
    built = {"__setstate__": lambda self, state: RUN.append(name)}
    made = type(name, (base,), {"__module__": module.__name__, "__qualname__": name, **built})
    setattr(module, name, made)
    return made


class Runs:
    def __reduce__(self) -> Any:
        return (foreign("function_like"), ())


def objects() -> dict[str, Any]:
    config, attributes = foreign("Config")(), foreign("AttributeDict", dict)(lr=0.1, nested={"a": (1, 2)})
    config.hidden = 4
    mode = enum.Enum("Mode", {"TRAIN": 1}, module="trainer_of_nobody")
    sys.modules["trainer_of_nobody"].Mode = mode
    settings = dataclasses.make_dataclass("Settings", [("lr", float)])
    settings.__module__ = "trainer_of_nobody"
    sys.modules["trainer_of_nobody"].Settings = settings
    return {
        "nothing": None,
        "object": config,
        "class as a key": {foreign("Callback"): {"best": 1.0}},
        "dict of its own": attributes,
        "list of its own": foreign("Stack", list)([1, config]),
        "deque": collections.deque([1.0, config], maxlen=9),
        "module": torch.nn.MSELoss(),
        "dataclass": settings(0.5),
        "enumeration": mode.TRAIN,
        "call": Runs(),
        "tuple as a key": {(1, 2): 0.5, 0.25: "x", frozenset({1}): 1},
        "range, bytes, complex": [range(3), b"x", 1j, slice(1), bytearray(b"y"), Ellipsis],
        "NumPy": {"scalar": np.float64(0.5), "array": np.arange(3), "rng": np.random.default_rng(0)},
        "counter": collections.Counter("abca"),
    }


def nestings(state: dict[str, Any], extra: Any) -> dict[str, tuple[Any, str]]:
    """Name -> (what is saved, the key of the state dict in it)."""
    ema = {name: tensor + 1 for name, tensor in state.items()}
    metrics = {"monitor": "val", "best_score": torch.tensor(0.5), "weights": torch.ones(3)}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {
        "beside": ({"extra": extra, "state_dict": state}, "state_dict"),
        "lightning": (
            {"callbacks": {"EarlyStopping{'a.b'}": metrics, "x": extra}, "state_dict": state, "loops": {"f": {}}},
            "state_dict",
        ),
        "averaged": ({"model_ema": ema, "model": state, "optimizer": optimizer, "args": extra}, "model"),
        "statistics": ({"mean": torch.ones(3), "std": torch.ones(3), "net": state, "cfg": extra}, "net"),
        "in a list": ({"models": [{"params": state}], "extra": extra}, "models.0.params"),
        "deep": ({"checkpoint": {"content": {"weights": state}}, "extra": extra}, "checkpoint.content.weights"),
        "two": ({"generator": state, "critic": ema, "extra": extra}, ""),
    }


WAYS = {
    "zip": {},
    "legacy": {"_use_new_zipfile_serialization": False},
    "protocol 4": {"pickle_protocol": 4},
    "protocol 5": {"pickle_protocol": 5},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", objects())
def test_tensors_are_equal_and_nothing_is_built(way: str, kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {f"net.{name}": tensor for name, tensor in torch.nn.GRU(3, 4).state_dict().items()}
    for nesting, (value, key) in nestings(state, objects()[kind]).items():
        path = tmp_path / f"{nesting}.ckpt"
        torch.save(value, path, **WAYS[way])
        RUN.clear()
        if key:
            weights = fastgru.read_weights(path)
            assert weights.key == key
        else:
            with pytest.raises(fastgru.InvalidModelError, match="choose one"):
                fastgru.read_weights(path)
            done = CliRunner().invoke(main, ["inspect", str(path), "--json"])
            assert [choice["key"] for choice in json.loads(done.output)["choices"]] == ["generator", "critic"]
            weights = fastgru.read_weights(path, key="generator")
        assert not RUN
        assert set(weights) == set(state)
        for name, tensor in state.items():
            np.testing.assert_array_equal(weights[name], tensor.numpy())
        assert fastgru.GRU.from_torch(weights, "net").hidden_size == 4


def test_reparametrised_layers_come_back_whole(tmp_path: Path) -> None:
    warnings.simplefilter("ignore", FutureWarning)  # torch's own, of its hooks
    torch.manual_seed(0)
    hooks, parametrised = torch.nn.utils, torch.nn.utils.parametrizations
    makers = {
        "weight_norm of hooks": lambda m, n: hooks.weight_norm(m, n),
        "weight_norm of no axis": lambda m, n: hooks.weight_norm(m, n, dim=None),
        "weight_norm of axis 1": lambda m, n: hooks.weight_norm(m, n, dim=1),
        "spectral_norm of axis 1": lambda m, n: hooks.spectral_norm(m, n, n_power_iterations=20, dim=1),
        "weight_norm": lambda m, n: parametrised.weight_norm(m, n),
        "spectral_norm of hooks": lambda m, n: hooks.spectral_norm(m, n, n_power_iterations=20),
        "spectral_norm": lambda m, n: parametrised.spectral_norm(m, n, n_power_iterations=20),
        "pruned": lambda m, n: prune.random_unstructured(m, n, 0.5),
    }
    modules = (
        lambda: (torch.nn.GRU(3, 4), "weight_hh_l0"),
        lambda: (torch.nn.Linear(4, 4), "weight"),
        lambda: (torch.nn.Conv1d(4, 4, 3), "weight"),
        lambda: (torch.nn.ConvTranspose1d(4, 4, 3), "weight"),
    )
    for (what, make), build in itertools.product(makers.items(), modules):
        module, name = build()
        make(module, name)
        x = torch.ones(2, 1, 3) if isinstance(module, torch.nn.GRU) else torch.ones(1, 4, 4)
        module(x)
        module.eval()
        for tensor in module.parameters():
            tensor.data.mul_(1.25)
        path = tmp_path / "m.pt"
        torch.save(module.state_dict(), path)
        module(x)
        whole = getattr(module, name).detach().numpy()
        read = fastgru.read_weights(path)
        assert set(read) == {name, *(n for n in read if "bias" in n or n == "weight_ih_l0")}, what
        np.testing.assert_allclose(read[name], whole, rtol=0, atol=2e-6 * abs(whole).max(), err_msg=f"{what} {module}")
    module = parametrised.orthogonal(torch.nn.Linear(4, 4))
    torch.save(module.state_dict(), tmp_path / "m.pt")
    with pytest.raises(fastgru.UnsupportedModelError, match="remove_parametrizations"):
        fastgru.read_weights(tmp_path / "m.pt")
