"""Which dict of a checkpoint is read, what is passed over beside it, and weights that are kept in parts."""

from __future__ import annotations

import json
import pickle
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner
from craft_files import tensor_pickle, torch_zip, zip_of

from fastgru.cli import main
from fastgru.errors import AmbiguousStateDictError, InvalidModelError, UnsupportedModelError
from fastgru.importers.architecture.parameters import Parameters
from fastgru.importers.weights import Weights, find_grus, read_weights
from fastgru.importers.weights.fold import fold_reparametrised
from fastgru.importers.weights.nested import choose_state_dict

GRU = {"net.gru.weight_ih_l0": 1.5, "net.gru.weight_hh_l0": 1.5}


def chosen(value: Any, key: str | None = None) -> str:
    """The path of the dict that is read; floats stand for tensors."""
    is_float = lambda entry: isinstance(entry, float)  # noqa: E731
    return choose_state_dict(value, key=key, name="f", is_tensor=is_float, is_weight=is_float).key


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (GRU, ""),
        ({"w": 1.5}, ""),
        ({"state_dict": GRU, "epoch": 3}, "state_dict"),
        ({"state_dict": GRU, "mean": 0.5, "std": 0.5}, "state_dict"),
        ({"state_dict": GRU, "callbacks": {"EarlyStopping{'monitor': 'x.y'}": {"best_score": 0.5}}}, "state_dict"),
        ({"state_dict": GRU, "callbacks": {"EMA": {"weights": GRU.copy()}}}, "state_dict"),
        ({"model": GRU, "ema": {"model": GRU.copy()}}, "model"),
        ({"model": GRU, "model_ema": GRU.copy(), "optimizer": {"exp_avg.weight": 0.5}}, "model"),
        ({"ema": {"model": GRU}, "epoch": 1}, "ema.model"),
        ({"checkpoint": [{"params": GRU}, 3]}, "checkpoint.0.params"),
        ({"model": {"state": {"dict": GRU}}}, "model.state.dict"),
        ({"optimizer": {"state": {"x.weight": 0.5}, "param_groups": []}, "w": {"odd": 0.5}}, "w"),
        ({0: GRU, "epoch": 1}, "0"),
        ({None: GRU}, "<NoneType>"),
        ({"a.b": GRU}, "a.b"),
    ],
)
def test_the_state_dict_is_found(value: Any, key: str) -> None:
    assert chosen(value) == key
    assert chosen(value, key) == key


@pytest.mark.parametrize(
    ("value", "choices"),
    [
        ({"generator": GRU, "discriminator": GRU.copy()}, ("generator", "discriminator")),
        ({**GRU, "extra": {"fc.weight": 0.5}}, ("", "extra")),
        ({"ema": GRU, "swa": GRU.copy()}, ("ema", "swa")),
        ([GRU, GRU.copy()], ("0", "1")),
        ({"a": {"one": 0.5}, "b": {"two": 0.5}}, ("a", "b")),
        ({"a": {"b": GRU}, "a.b": GRU.copy(), "a.b (2)": GRU.copy()}, ("a.b", "a.b (2)", "a.b (3)")),
        ({1: GRU, "1": GRU.copy()}, ("1", "1 (2)")),
        ({"": GRU, "fc.weight": 0.5}, ("", " (2)")),
    ],
)
def test_of_several_none_is_taken(value: Any, choices: tuple[str, ...]) -> None:
    with pytest.raises(AmbiguousStateDictError, match="--key") as caught:
        chosen(value)
    assert caught.value.choices == choices
    assert [chosen(value, key) for key in choices] == list(choices)
    with pytest.raises(InvalidModelError, match=r"under 'no'; expected one of"):
        chosen(value, "no")


def test_vectors_named_as_weights_are_no_network() -> None:
    class Of:
        def __init__(self, *shape: int) -> None:
            self.shape = shape

    gru = {"gru.weight_ih_l0": Of(12, 3), "gru.bias_ih_l0": Of(12)}
    for value, key in (
        ({"model": gru, "running_mean_std": {"running_mean": Of(3), "running_var": Of(3)}}, "model"),
        ({"state_dict": gru, "pos_weight": Of(3)}, "state_dict"),
        ({"ema": {"model": gru}, "criterion": {"weight": Of(3)}}, "ema.model"),
    ):
        is_tensor = lambda entry: isinstance(entry, Of)  # noqa: E731
        found = choose_state_dict(value, key=None, name="f", is_tensor=is_tensor, is_weight=is_tensor)
        assert found.key == key


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


# What stands beside the tensor of a checkpoint, as opcodes that push it: a class of nobody's, in every form.
FOREIGN = {
    "a class": b"capp.models\nConfig\n",
    "an object with a state": b"capp.models\nConfig\n)\x81}" + text("h") + b"K\x04sb",
    "an object by reduce": b"capp.models\nConfig\n(K\x01tR",
    "an object by names": b"capp.models\nConfig\n)}\x92",
    "an object of Python 2": b"(iapp.models\nConfig\n}b",
    "an object by its class": b"(capp.models\nConfig\no",
    "a call of what a call gave": b"capp.models\nmake\n)R)R",
    "a dict of its own": b"capp.models\nAttributeDict\n)\x81" + text("lr") + b"K\x01s(" + text("x") + b"K\x02u",
    "a list of its own": b"capp.models\nStack\n)\x81K\x01a(K\x02K\x03e",
    "a deque": b"ccollections\ndeque\n(]K\x05tR(K\x01K\x02e",
    "a range": b"cbuiltins\nrange\n(K\x00K\x03K\x01tR",
    "a class as a key": b"}capp.models\nConfig\nK\x01s",
    "a tuple as a key": b"}K\x01K\x02\x86K\x03s",
    "a float as a key": b"}G\x3f\xe0\x00\x00\x00\x00\x00\x00K\x03s",
    "a namespace": b"ctypes\nSimpleNamespace\n)R}b",
    "an enumeration": b"capp.models\nMode\n(K\x01tR",
    "an exception": b"cbuiltins\nValueError\n(K\x01tR",
    "the type of None": b"c__builtin__\ntype\n(NtR",
    "a sparse parameter": b"ctorch._utils\n_rebuild_parameter\n(ctorch._utils\n_rebuild_sparse_tensor\n)RI01\nNtR",
    "a conjugated view": b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNNN}" + text("conj") + b"\x88stR",
    "a tensor of a strange class": (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_wrapper_subclass\ncapp.models\nDTensor\n)NtR"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(FOREIGN))
def test_objects_beside_the_tensors_are_passed_over(kind: str, tmp_path: Path) -> None:
    state = tensor_pickle((4, 6), (6, 1))[2:-1]
    pickled = b"\x80\x02}(" + text("hyper") + FOREIGN[kind] + text("state_dict") + state + b"u."
    values = np.arange(24, dtype="f4")
    weights = read_weights(torch_zip(pickled, {"0": values.tobytes()}))
    np.testing.assert_array_equal(weights["w"], values.reshape(4, 6))
    assert weights.key == "state_dict"
    ours = [name for name in weights.passed_over if name.startswith("app.")]
    assert bool(ours) == (b"app." in FOREIGN[kind])


@pytest.mark.parametrize("kind", [kind for kind in sorted(FOREIGN) if not kind.endswith("as a key")])
def test_objects_in_the_place_of_a_weight_are_refused(kind: str) -> None:
    inside = tensor_pickle((4, 6), (6, 1))[3:-2] + text("fc.weight") + FOREIGN[kind] + b"u."
    pushes_an_object = kind != "a class"
    with pytest.raises(UnsupportedModelError, match=r"'fc\.weight' is a") if pushes_an_object else nullcontext():
        read_weights(torch_zip(b"\x80\x02}(" + inside, {"0": bytes(96)}))


def test_an_object_is_no_state_dict_and_the_message_says_so() -> None:
    pickled = b"\x80\x02}" + text("model") + FOREIGN["an object with a state"] + b"s."
    with pytest.raises(UnsupportedModelError, match=r"under 'model' is an object of 'app\.models\.Config'"):
        read_weights(torch_zip(pickled))
    for rebuild, part in (("torch._utils\n_rebuild_sparse_tensor", "_rebuild_sparse_tensor"),):
        state = tensor_pickle((4, 6), (6, 1))[2:-2] + text("other") + f"c{rebuild}\n)R".encode() + b"u."
        with pytest.raises(UnsupportedModelError, match=rf"'other' is a tensor made by '.*{part}'"):
            read_weights(torch_zip(b"\x80\x02}(" + state[1:].replace(b"}", b"", 0), {"0": bytes(96)}))


def test_beside_a_model_metrics_are_no_state_dict() -> None:
    losses = tensor_pickle((24,), (1,))[2:-1]
    pickled = b"\x80\x02}(" + text("model") + b"capp.models\nNet\n)\x81" + text("history") + losses + b"u."
    with pytest.raises(UnsupportedModelError, match=r"under 'model' is an object of 'app\.models\.Net'"):
        read_weights(torch_zip(pickled, {"0": bytes(96)}))
    assert read_weights(torch_zip(pickled, {"0": bytes(96)}), key="history")["w"].shape == (24,)


def test_floods_of_names_are_refused() -> None:
    children = b"".join(b"J" + struct.pack("<i", n) + b"}" for n in range(1000))
    for flood, message in (
        (b"}" + text("A" * (1 << 20)) + b"}(" + children + b"us", "the paths of its dicts"),
        (b"](" + b"".join(b"capp.m%d\nC\n" % n for n in range(10_001)) + b"e", "unknown classes"),
    ):
        with pytest.raises(InvalidModelError, match=message):
            read_weights(torch_zip(b"\x80\x02" + flood + b"."))


def test_tensors_in_a_dict_of_another_class_are_read() -> None:
    pair = tensor_pickle((4, 6), (6, 1))[3:-1]  # a key and a tensor, and the opcode that sets them
    weights = read_weights(torch_zip(b"\x80\x02capp.models\nState\n)\x81" + pair + b".", {"0": bytes(96)}))
    assert list(weights) == ["w"]
    assert weights.passed_over == ("app.models.State",)


def test_forms_that_are_not_read_have_a_way_round(tmp_path: Path) -> None:
    for protocol in (0, 1):
        for value in ({"a": [1.0]}, [1], {}, np.float64(1.0)):
            with pytest.raises(UnsupportedModelError, match="plain Python pickle"):
                read_weights(pickle.dumps(value, protocol))
    for member in ("a/archive_format", "serialized_exported_program.json"):
        with pytest.raises(UnsupportedModelError, match=r"torch\.export \(\.pt2\).*torch\.onnx\.export"):
            read_weights(zip_of({member: b"pt2"}))
    with pytest.raises(UnsupportedModelError, match=r"zip archive with 'policy\.pth': unpack it"):
        read_weights(zip_of({"data": b"{}", "policy.pth": b"x"}))
    index = {"metadata": {"total_size": 12}, "weight_map": {"w": "model-00001-of-00001.safetensors"}}
    with pytest.raises(UnsupportedModelError, match=r"index of a checkpoint.*model-00001-of-00001\.safetensors"):
        read_weights(json.dumps(index).encode())
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(UnsupportedModelError, match=r"SavedModel.*tf2onnx"):
        read_weights(tmp_path / "saved")
    done = CliRunner().invoke(main, ["inspect", str(tmp_path / "saved")])
    assert done.exit_code != 0
    with pytest.raises(InvalidModelError, match="a directory"):
        read_weights(tmp_path)


def norm(v: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    return np.sqrt((v.astype(np.float64) ** 2).sum(axis=axis, keepdims=True))


def test_weights_in_parts_come_back_whole() -> None:
    rng = np.random.default_rng(0)
    v, mask = rng.normal(0, 1, (12, 4)).astype("f4"), rng.integers(0, 2, (12, 4)).astype("f4")
    g = rng.normal(1, 0.1, (12, 1)).astype("f4")
    u, w = rng.normal(0, 1, 12).astype("f4"), rng.normal(0, 1, 4).astype("f4")
    normed = (v * (g / norm(v, (1,)))).astype("f4")
    spectral = (v / np.float64(u.astype(float) @ v.astype(float) @ w.astype(float))).astype("f4")
    cases = {
        "weight_norm": ({"gru.weight_hh_l0_g": g, "gru.weight_hh_l0_v": v}, "gru.weight_hh_l0", normed),
        "parametrised": (
            {"gru.parametrizations.weight_hh_l0.original0": g, "gru.parametrizations.weight_hh_l0.original1": v},
            "gru.weight_hh_l0", normed,
        ),
        "along axis 1": ({"weight_g": g[:4].T, "weight_v": v}, "weight", v * (g[:4].T / norm(v, (0,)))),
        "of the whole": ({"weight_g": g[0, 0], "weight_v": v}, "weight", v * (g[0, 0] / norm(v, (0, 1)))),
        "spectral": ({"fc.weight_orig": v, "fc.weight_u": u, "fc.weight_v": w}, "fc.weight", spectral),
        "spectral, parametrised": (
            {f"parametrizations.weight.{part}": a for part, a in (("original", v), ("0._u", u), ("0._v", w))},
            "weight", spectral,
        ),
        "pruned": ({"fc.weight_orig": v, "fc.weight_mask": mask}, "fc.weight", v * mask),
        "no norm": ({"W_g": v, "W_v": v}, "W_g", v),
        "a name that only looks so": ({"weight_v": v}, "weight_v", v),
    }  # fmt: skip
    for what, (parts, name, expected) in cases.items():
        bias = np.zeros(3, "f4")
        folded = fold_reparametrised({"before": bias, **parts, "after": bias}, "f")
        np.testing.assert_allclose(folded[name], expected, rtol=2e-7, err_msg=what)
        assert folded[name].dtype == np.float32
        assert next(iter(folded)) == "before"
        assert list(folded)[-1] == "after"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_weights_in_parts_have_the_bits_that_a_description_gives_them(dtype: str) -> None:
    rng = np.random.default_rng(0)
    v, g = (rng.normal(1, 0.5, shape).astype(np.dtype(getattr(ml_dtypes, dtype, dtype))) for shape in ((8, 3), (8, 1)))
    parts = {"fc.weight_g": g, "fc.weight_v": v}
    folded = fold_reparametrised(parts, "f")["fc.weight"]
    taken = Parameters(Weights(parts), "fc", {}, "fc").take("weight", (8, 3))
    assert folded.dtype == taken.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_array_equal(folded, taken)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_a_spectral_norm_tells_its_axis_in_every_dtype(dtype: type) -> None:
    w = np.random.default_rng(0).normal(0, 1, (4, 4)).astype(dtype).astype(np.float64)
    for axis, matrix in ((0, w), (1, w.T)):
        left, sizes, right = np.linalg.svd(matrix)
        parts = {"weight_orig": w, "weight_u": left[:, 0], "weight_v": right[0]}
        folded = fold_reparametrised({name: part.astype(dtype) for name, part in parts.items()}, "f")["weight"]
        np.testing.assert_allclose(folded, w / sizes[0], rtol=0, atol=0.02, err_msg=str(axis))


def test_parts_that_do_not_fit_are_errors() -> None:
    v = np.ones((4, 3), "f4")
    with pytest.raises(UnsupportedModelError, match=r"gru\.weight_hh_l0 is parametrised .*remove_parametrizations"):
        fold_reparametrised({"gru.parametrizations.weight_hh_l0.original": v}, "f")
    twice = {f"parametrizations.weight.{part}": v for part in ("original0", "original1", "1._u", "1._v")}
    with pytest.raises(UnsupportedModelError, match=r"weight is parametrised .*remove_parametrizations"):
        fold_reparametrised({**twice, "parametrizations.weight.original0": np.ones((4, 1), "f4")}, "f")
    for parts in (
        {"weight_g": np.ones((4, 2), "f4"), "weight_v": v},
        {"weight_g": np.ones((2, 1), "f4"), "weight_v": v},
        {"weight_orig": v, "weight_u": np.ones(5, "f4"), "weight_v": np.ones(3, "f4")},
        {"weight_orig": v, "weight_mask": np.ones((3, 4), "f4")},
    ):
        with pytest.raises(InvalidModelError, match="do not fit together"):
            fold_reparametrised(parts, "f")
    with pytest.raises(InvalidModelError, match="both whole and in parts"):
        fold_reparametrised({"weight": v, "weight_g": np.ones((4, 1), "f4"), "weight_v": v}, "f")


def test_inspect_lists_the_choices_and_takes_a_key(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    gru = {"weight_ih_l0": rng.normal(0, 1, (12, 3)).tolist(), "weight_hh_l0": rng.normal(0, 1, (12, 4)).tolist()}
    path = tmp_path / "two.json"
    path.write_text(json.dumps({"generator": gru, "critic": {**gru, "ragged": [[1.0], 2.0]}}))
    done = CliRunner().invoke(main, ["inspect", str(path)])
    assert done.exit_code == 1
    for part in ("--key generator", "--key critic", "3 -> 4"):
        assert part in done.output, done.output
    path.write_text(json.dumps({"generator": gru, "critic": gru}))
    done = CliRunner().invoke(main, ["inspect", str(path), "--key", "critic"])
    assert done.exit_code == 0
    assert "from_torch" in done.output
    assert "key='critic'" in done.output
    found = json.loads(CliRunner().invoke(main, ["inspect", str(path), "--json"]).output)
    assert [choice["key"] for choice in found["choices"]] == ["generator", "critic"]
    assert "choose one" in found["unsupported"]
    assert find_grus(read_weights(path, key="critic"))
