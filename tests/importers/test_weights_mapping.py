"""`Weights`: order, the record of what was read, prefixes; the GRUs found in it; what load says of a state dict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from craft_files import zip_of

import fastgru
from fastgru.errors import FastGRUError, MissingTensorError, UnreadTensorsError, UnsupportedModelError
from fastgru.importers.weights import Weights, find_grus, read_weights, refuse_state_dict

DATA = Path(__file__).parent.parent / "data" / "weights"


def gru_names(layers: int = 1, *, bidirectional: bool = False, bias: bool = True) -> list[str]:
    return [
        f"{kind}_{side}_l{layer}{end}"
        for layer in range(layers)
        for end in ("", "_reverse")[: 1 + bidirectional]
        for kind in ("weight", "bias")[: 1 + bias]
        for side in ("ih", "hh")
    ]


def gru_arrays(I: int, H: int, layers: int = 1, gates: int = 3, **options: bool) -> dict[str, np.ndarray]:
    arrays = {}
    for name in gru_names(layers, **options):
        rows = I if "_l0" in name else H * (1 + options.get("bidirectional", False))
        columns = () if name.startswith("bias") else (rows if "_ih" in name else H,)
        arrays[name] = np.ones((gates * H, *columns), np.float32)
    return arrays


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def test_it_is_an_immutable_mapping_in_the_order_of_the_file() -> None:
    weights = Weights({"b": np.ones(2), "a": np.zeros((3, 1), np.int64)})
    assert list(weights) == ["b", "a"]
    assert len(weights) == 2
    assert "a" in weights
    assert "c" not in weights
    assert weights.specs == {"b": ("float64", (2,)), "a": ("int64", (3, 1))}
    assert weights.unread == ("b", "a")
    with pytest.raises(ValueError, match="read-only"):
        weights["b"][0] = 1
    assert weights.unread == ("a",)
    assert weights.get("c") is None
    assert not hasattr(weights, "__setitem__")


def test_a_missing_name_is_in_the_tree_and_a_key_error_with_a_hint() -> None:
    weights = Weights({"gru.weight_ih_l0": np.ones(2)}, source="'m.pt'")
    with pytest.raises(
        MissingTensorError, match=r"^'m.pt': no tensor 'gru.weight_ih_10'; did you mean gru.weight_ih_l0"
    ):
        weights["gru.weight_ih_10"]
    with pytest.raises(KeyError):
        weights["x"]
    with pytest.raises(FastGRUError, match=r"it holds gru\.weight_ih_l0"):
        weights.sub("zzz")


def test_views_under_a_prefix_share_the_record() -> None:
    weights = Weights({"a.b.x": np.ones(1), "a.b.y": np.ones(1), "a.c": np.ones(1), "ab.x": np.ones(1)})
    view = weights.sub("a").sub("b.")
    assert view.prefix == "a.b"
    assert list(view) == ["x", "y"]
    assert view["x"].shape == (1,)
    assert view.unread == ("y",)
    assert weights.unread == ("a.b.y", "a.c", "ab.x")
    assert list(weights.sub("")) == list(weights)
    with pytest.raises(UnreadTensorsError, match=r"1 tensor\(s\) were not read: y float64\[1\]"):
        view.check_all_read()
    assert list(Weights({"model/gru/kernel:0": np.ones(1)}).sub("model/gru")) == ["kernel:0"]


def test_leaving_the_block_checks_that_all_was_read() -> None:
    with Weights({"a": np.ones(2)}) as weights:
        assert weights["a"].any()
    with pytest.raises(UnreadTensorsError, match=r"a float64\[2\]"), Weights({"a": np.ones(2)}):
        pass
    with pytest.raises(ZeroDivisionError), Weights({"a": np.ones(2)}):
        1 / 0  # noqa: B018
    weights = Weights({"bn.num_batches_tracked": np.int64(3), "a": np.ones(1)})
    with pytest.raises(UnreadTensorsError):
        weights.check_all_read(ignore=["*.num_batches"])
    weights.check_all_read(ignore=["*.num_batches_tracked", "a"])


def test_long_lists_are_cut() -> None:
    with pytest.raises(UnreadTensorsError, match=r"50 tensor\(s\).*and 30 more"):
        Weights({f"t{i}": np.ones(1) for i in range(50)}).check_all_read()


def test_wrappers_are_stripped_only_where_every_name_has_them() -> None:
    def names(*given: str) -> list[str]:
        return list(read_weights(json.dumps({name: [1.0] for name in given}).encode()))

    assert names("module.a", "module.b") == ["a", "b"]
    assert names("module.a", "b") == ["module.a", "b"]
    assert names("_orig_mod.module.a") == ["a"]
    assert names("module._orig_mod.a") == ["a"]
    assert names("modulea") == ["modulea"]


def test_grus_are_found_by_names_and_shapes() -> None:
    arrays = (
        under("enc", gru_arrays(3, 4, 2, bidirectional=True))
        | gru_arrays(5, 6, bias=False)
        | under("dec.cell", {k.removesuffix("_l0"): v for k, v in gru_arrays(2, 7).items()})
        | {"fc.weight": np.ones((2, 8)), "fc.bias": np.ones(2)}
    )
    weights = Weights(arrays)
    assert [str(gru) for gru in find_grus(weights)] == [
        "GRU 'enc' (3 -> 4, 2 layers, bidirectional)",
        "GRU '' (5 -> 6, no bias)",
        "GRUCell 'dec.cell' (2 -> 7)",
    ]
    assert find_grus(arrays) == find_grus(weights)
    assert weights.unread == tuple(arrays)
    assert find_grus(weights)[0].recipe == 'fastgru.GRU.from_torch(weights, prefix="enc")'


def test_what_is_no_gru_is_not_found() -> None:
    assert find_grus(gru_arrays(3, 4, gates=4)) == []  # an LSTM
    assert find_grus(gru_arrays(3, 4, gates=1)) == []  # a plain RNN
    for name in gru_names(2, bidirectional=True):
        arrays = gru_arrays(3, 4, 2, bidirectional=True)
        del arrays[name]
        assert find_grus(arrays) == [], name
        arrays[name] = np.ones((12, 9))
        assert find_grus(arrays) == [], name
    assert find_grus({"weight_ih_l9999": np.ones((3, 1))}) == []
    assert find_grus({"weight_ih_l0": np.ones((3, 1)), "weight_hh_l0": np.float32(1)}) == []


def test_a_state_dict_is_no_model(shared_models: Path) -> None:
    path = DATA / "checkpoint.zip.pt"
    for refuse in (refuse_state_dict, fastgru.load):
        with pytest.raises(UnsupportedModelError) as caught:
            refuse(str(path))
        assert "GRU 'gru' (3 -> 4, 2 layers)" in str(caught.value)
        assert f'fastgru.GRU.from_torch(fastgru.read_weights("{path}"), prefix="gru")' in str(caught.value)
    with pytest.raises(UnsupportedModelError, match=r"; and 6 more\. Make"):
        fastgru.load(shared_models / "gtcrn" / "model_trained_on_dns3.tar")
    with pytest.raises(UnsupportedModelError, match=r"No tensors have the names of a torch\.nn\.GRU"):
        fastgru.load(shared_models / "g2p" / "checkpoint20.npz")


def test_the_format_can_be_insisted_on() -> None:
    path = DATA / "two.zip.pt"
    assert len(read_weights(path, format="torch-zip", key="generator")) == 4
    with pytest.raises(FastGRUError, match="a PyTorch checkpoint, expected format 'npz'"):
        read_weights(path, format="npz")
    with pytest.raises(FastGRUError, match="format is 'zip', expected one of hdf5, json, keras, npz"):
        read_weights(path, format="zip")
    with pytest.raises(FastGRUError, match="has no nested dicts"):
        read_weights(zip_of({"a.npy": b""}), key="model")
