"""The line of Python that `fastgru inspect` offers for a file's GRU, run for every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from craft_files import tensor_pickle, torch_legacy, torch_zip
from keras_files import archive, gru_arrays, h5py, layer, legacy, sequential

import fastgru
from fastgru.cli import main
from fastgru.importers.files import FORMATS, detect_format
from fastgru.tensorfile import tensor_file_chunks


def _gru_of(rng: np.random.Generator, **kind: Any) -> tuple[list[np.ndarray], fastgru.GRU]:
    arrays = gru_arrays(rng, 3, 4, reset_after=kind.get("reset_after", True))
    return arrays, fastgru.GRU.from_keras(*arrays, **kind)


def _torch_arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"weight_ih": (12, 3), "weight_hh": (12, 4), "bias_ih": (12,), "bias_hh": (12,)}
    return {f"rnn.{name}_l0": rng.normal(0, 0.5, shape).astype("f4") for name, shape in shapes.items()}


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


LAMBDA = {"class_name": "Lambda", "config": {"name": "odd"}}


def offered_files(folder: Path) -> dict[str, tuple[Path, Any, int]]:
    """Format -> (a file, the GRU that its numbers are of, the exit status of `inspect`)."""
    rng = np.random.default_rng(0)
    state = _torch_arrays(rng)
    torch_gru = fastgru.GRU.from_torch(state, "rnn")
    (folder / "w.json").write_text(json.dumps({name: array.tolist() for name, array in state.items()}))
    np.savez(folder / "torch.npz", **state)
    np.savez(folder / "plain.npz", **{f"enc_{n}": a for n, a in zip("wubc", state.values(), strict=True)})
    (folder / "w.safetensors").write_bytes(b"".join(tensor_file_chunks(state, {})))
    pickled, raw = b"\x80\x02}", {name: array.tobytes() for name, array in state.items()}
    for name, array in state.items():
        strides = tuple(step // 4 for step in array.strides)
        pickled += tensor_pickle(array.shape, strides, size=array.size, key=name, name=name)[3:-1]
    (folder / "w.pt").write_bytes(torch_zip(pickled + b".", raw))
    (folder / "old.pt").write_bytes(
        torch_legacy(pickled + b".", {name: (array.size, raw[name]) for name, array in state.items()})
    )
    found: dict[str, tuple[Path, Any, int]] = {
        name: (folder / name, torch_gru, 0)
        for name in ("w.json", "torch.npz", "plain.npz", "w.safetensors", "w.pt", "old.pt")
    }
    for name, kind in (
        ("keras2.h5", {"reset_after": False, "recurrent_activation": "hard_sigmoid", "keras_version": 2}),
        ("keras3.h5", {"activation": "relu"}),
    ):
        arrays, gru = _gru_of(rng, **kind)
        config = sequential(layer("GRU", "enc", units=4, batch_input_shape=[None, None, 3], **kind), LAMBDA)
        parts = ("bias", "kernel", "recurrent_kernel")  # in the order in which HDF5 sorts them
        named = [(f"enc/gru_cell/{n}:0", arrays[i]) for n, i in zip(parts, (2, 0, 1), strict=True)]
        version = f"{kind.get('keras_version', 3)}.1.0"
        (folder / name).write_bytes(legacy(config, {"enc": named}, version=version))
        found[name] = folder / name, gru, 1
    arrays, gru = _gru_of(rng, go_backwards=True)
    config = sequential(layer("GRU", "enc", units=4, go_backwards=True, batch_input_shape=[None, None, 3]), LAMBDA)
    variables = {f"layers/gru/cell/vars/{i}": array for i, array in enumerate(arrays)}
    (folder / "m.keras").write_bytes(archive(config, variables))
    found["m.keras"] = folder / "m.keras", gru, 1
    with h5py.File(folder / "w.weights.h5", "w") as file:
        for i, array in enumerate(arrays):
            file[f"layers/gru/cell/vars/{i}"] = array
    found["w.weights.h5"] = folder / "w.weights.h5", fastgru.GRU.from_keras(*arrays), 0
    return found


def test_the_line_that_is_offered_gives_the_right_numbers_in_every_format(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(0, 1, (2, 6, 3)).astype("f4")
    files = offered_files(tmp_path)
    assert {detect_format(file) for file, _, _ in files.values()} == set(FORMATS) - {"onnx"}
    for name, (file, expected, status) in files.items():
        result = _invoke("inspect", file)
        assert result.exit_code == status, name
        assert ("odd" in result.stdout) == bool(status), name
        found = json.loads(_invoke("inspect", file, "--json").stdout)
        offers = [*found["grus"], *found["guesses"]]
        weights = fastgru.read_weights(file)
        (gru,) = [eval(offer["recipe"], {"fastgru": fastgru, "weights": weights}) for offer in offers]
        np.testing.assert_array_equal(gru(x)[0], expected(x)[0], err_msg=name)
        assert not weights.unread, name
        code = found["code"]
        assert code in result.stdout, name
        assert max(len(line) for line in code.splitlines() if str(file) not in line) <= 80, name
        names: dict[str, Any] = {}
        exec(code, names)  # as it is pasted
        (made,) = [value for value in names.values() if isinstance(value, fastgru.GRU)]
        np.testing.assert_array_equal(made(x)[0], expected(x)[0], err_msg=name)


Arrays = list[np.ndarray]


def _several(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Arrays], list[fastgru.GRU]]:
    """A network of every way in which a GRU may stand in another layer; arrays by folder; the GRUs of it in order."""
    kinds: dict[str, tuple[int, dict[str, Any]]] = {
        "gru": (4, {}),
        "bidirectional/forward_layer": (4, {"activation": "relu"}),
        "bidirectional/backward_layer": (4, {"activation": "relu", "go_backwards": True}),
        "gru_1": (8, {"activation": "softsign"}),
        "rnn": (4, {"reset_after": False, "activation": "relu"}),
        "time_distributed/layer": (4, {"recurrent_activation": "hard_sigmoid"}),
        "sequential/layers/gru": (4, {"activation": "softsign"}),
    }
    arrays = {
        name: gru_arrays(rng, I, 4, reset_after=kind.get("reset_after", True)) for name, (I, kind) in kinds.items()
    }
    grus = [fastgru.GRU.from_keras(*arrays[name], **kind, keras_version=3) for name, (_, kind) in kinds.items()]
    cell = {"class_name": "GRUCell", "config": {"name": "cc", "units": 4, **kinds["rnn"][1]}}
    usual: dict[str, Any] = {"units": 4, "return_sequences": True}
    inner = sequential(layer("GRU", "gru", **usual, activation="softsign", batch_input_shape=[None, None, 4]))
    config = sequential(
        layer("GRU", "gru", **usual, batch_input_shape=[None, None, 4]),
        layer("Bidirectional", "bi", layer=layer("GRU", "g", **usual, activation="relu"), merge_mode="concat"),
        layer("GRU", "c", **usual, activation="softsign"),
        layer("RNN", "r", cell=cell, return_sequences=True),
        layer("Reshape", "re", target_shape=[-1, 1, 4]),
        layer("TimeDistributed", "td", layer=layer("GRU", "t", units=4, recurrent_activation="hard_sigmoid")),
        inner,
        LAMBDA,
    )
    return config, arrays, grus


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_every_layer_has_the_arguments_of_its_own(form: str, tmp_path: Path) -> None:
    config, arrays, grus = _several(np.random.default_rng(0))
    path = tmp_path / "m"
    if form == "keras":
        variables = {
            f"layers/{folder}/cell/vars/{i}": array for folder, own in arrays.items() for i, array in enumerate(own)
        }
        path.write_bytes(archive(config, variables))
    else:
        places = (
            "gru/gru_cell",
            "bi/forward_g/gru_cell",
            "bi/backward_g/gru_cell",
            "c/gru_cell",
            "r/cc",
            "td/gru_cell",
        )
        inside = f"{config['config']['layers'][-2]['config']['name']}/gru/gru_cell"
        named: dict[str, list[tuple[str, np.ndarray]]] = {}
        for place, own in zip((*places, inside), arrays.values(), strict=True):
            roles = ("bias", "kernel", "recurrent_kernel")
            group = named.setdefault(place.split("/")[0], [])
            group += [(f"{place}/{role}:0", own[i]) for role, i in zip(roles, (2, 0, 1), strict=True)]
        path.write_bytes(legacy(config, named, version="3.1.0"))
    done = _invoke("inspect", path)
    assert done.exit_code == 1, done.output
    assert "GRUs of the file's configuration" in done.stdout
    assert "a guess" not in done.stdout
    guesses = json.loads(_invoke("inspect", path, "--json").stdout)["guesses"]
    weights = fastgru.read_weights(path)
    assert len(guesses) == len(grus)
    for guess, expected in zip(guesses, grus, strict=True):
        gru = eval(guess["recipe"], {"fastgru": fastgru, "weights": weights})
        assert guess["certain"]
        assert gru.specs == expected.specs
        x = np.random.default_rng(1).normal(0, 1, (2, 6, gru.input_size)).astype("f4")
        np.testing.assert_array_equal(gru(x)[0], expected(x)[0])
    assert not weights.unread


def test_where_a_line_is_a_guess_it_says_so(tmp_path: Path) -> None:
    h5py_file, rng = tmp_path / "w.weights.h5", np.random.default_rng(0)
    for sizes in ((4, 4), (2, 2)):  # the bias of one could be the kernel of the other
        with h5py.File(h5py_file, "w") as file:
            for folder in ("layers/gru", "layers/gru_1"):
                for i, array in enumerate(gru_arrays(rng, *sizes, reset_after=True)):
                    file[f"{folder}/cell/vars/{i}"] = array
        assert "a guess" in _invoke("inspect", h5py_file).stdout
        found = json.loads(_invoke("inspect", h5py_file, "--json").stdout)["guesses"]
        assert [(guess["certain"], [name[-1] for name in guess["names"]]) for guess in found] == [
            (False, list("012"))
        ] * 2


def test_what_load_refuses_has_status_1(tmp_path: Path) -> None:
    odd = {"type": "lstm", "activation": "", "shape": [None, None, 2], "weights": []}
    (tmp_path / "m.json").write_text(json.dumps({"in_shape": [None, None, 1], "layers": [odd]}))
    result = _invoke("inspect", tmp_path / "m.json")
    assert result.exit_code == 1
    assert "lstm" in result.stdout


def test_of_a_model_that_is_not_read_the_reason_comes_first(tmp_path: Path) -> None:
    first = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, None, 3], "dtype": "float32"}}
    code = {"class_name": "__lambda__", "config": {"code": "AAAA"}}
    odd = {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "lam", "function": code}}
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [first, odd]}}
    path = tmp_path / "lam.keras"
    path.write_bytes(archive(config, {"layers/gru/cell/vars/0": np.ones((3, 6), np.float32)}))
    result = _invoke("inspect", path)
    assert result.exit_code == 1
    assert "no graph" not in result.stdout
    told = result.stdout.index("Not supported")
    assert told < result.stdout.index(f"fastgru.load({str(path)!r}, custom_objects=") < result.stdout.index("1 tensors")
