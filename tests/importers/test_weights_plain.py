"""safetensors, npz, JSON and HDF5 weights, against the libraries that write them."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from craft_files import zip_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastgru
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.files import detect_format
from fastgru.importers.weights import find_grus, read_weights
from fastgru.tensorfile import read_tensor_file, tensor_file_chunks

DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", ">f4", ">f8", ">i4")
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
# Without dots: hypothesis draws texts of the package's own, and ".SCB" and "module." mean something there.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="./\\\0:"), min_size=1, max_size=12).filter(
    lambda name: name not in ("file", "__metadata__")
)
STATE_DICTS = st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=5)


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype.newbyteorder("=")
    assert a.shape == b.shape
    np.testing.assert_array_equal(a, b)


@given(STATE_DICTS)
def test_safetensors_of_the_library(arrays: dict[str, np.ndarray]) -> None:
    native = {
        name: np.ascontiguousarray(a.astype(a.dtype.newbyteorder("="))).reshape(a.shape) for name, a in arrays.items()
    }
    weights = read_weights(safetensors.numpy.save(native))
    assert set(weights) == set(arrays)
    for name, array in weights.items():
        same(array, arrays[name])


@given(STATE_DICTS, st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))))
def test_the_library_reads_our_safetensors(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    content = b"".join(tensor_file_chunks(arrays, metadata))
    theirs = safetensors.numpy.load(content)
    ours = read_tensor_file(content)
    assert list(ours.tensors) == list(arrays)
    assert ours.metadata == metadata
    assert set(theirs) == set(arrays)
    for name, array in arrays.items():
        same(theirs[name], array)
        same(ours.tensors[name], array)


@given(STATE_DICTS, st.booleans())
def test_npz_of_numpy(arrays: dict[str, np.ndarray], compressed: bool) -> None:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
    weights = read_weights(buffer.getvalue())
    assert list(weights) == list(arrays)
    for name, array in weights.items():
        same(array, arrays[name])


def test_npz_in_fortran_order_and_of_every_version() -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    members = {}
    for version in ((1, 0), (2, 0), (3, 0)):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, version=version)
        members[f"v{version[0]}.npy"] = buffer.getvalue()
    weights = read_weights(zip_of(members))
    assert list(weights) == ["v1", "v2", "v3"]
    for got in weights.values():
        same(got, array)


def test_npz_says_what_became_of_a_bfloat16(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", w=np.ones(3, ml_dtypes.bfloat16))
    with pytest.raises(UnsupportedModelError, match=r"'w\.npy'.*bfloat16 array loses its name.*float32"):
        read_weights(tmp_path / "x.npz")
    np.savez(tmp_path / "o.npz", w=np.array([{}], dtype=object))
    with pytest.raises(UnsupportedModelError, match="pickles are code"):
        read_weights(tmp_path / "o.npz")


def test_zip64_as_numpy_and_torch_write_it() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("a.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, np.arange(5.0))
    same(read_weights(buffer.getvalue())["a"], np.arange(5.0))


@given(
    st.dictionaries(
        NAMES,
        hnp.arrays(
            np.float64, hnp.array_shapes(min_dims=0, max_dims=4, min_side=1), elements=st.floats(allow_nan=False)
        ),
        min_size=1,
        max_size=4,
    )
)
def test_json_state_dicts(arrays: dict[str, np.ndarray]) -> None:
    weights = read_weights(json.dumps({name: array.tolist() for name, array in arrays.items()}).encode())
    assert list(weights) == list(arrays)
    for name, array in weights.items():
        same(array, arrays[name])


def test_json_nests_as_checkpoints_do() -> None:
    content = json.dumps({"epoch": 3, "state_dict": {"w": [[1, 2]], "steps": 5}, "name": "x"}).encode()
    weights = read_weights(content)
    assert weights.specs == {"w": ("float64", (1, 2)), "steps": ("float64", ())}
    assert read_weights(b"\xef\xbb\xbf" + content, key="state_dict")["steps"] == 5
    with pytest.raises(InvalidModelError, match=r"found 'a', 'b'"):
        read_weights(b'{"a":{"w":[1]},"b":{"w":[1]}}')
    assert detect_format(b'\n  {"a":[1]}') == "json"


def test_rtneural_is_a_model_and_its_torch_json_a_state_dict(shared_models: Path) -> None:
    weights = read_weights(shared_models / "rtneural" / "gru_torch.json")
    assert [str(gru) for gru in find_grus(weights)] == ["GRU 'gru' (1 -> 8)", "GRU 'gru2' (8 -> 8, 3 layers)"]
    assert all(array.any() for array in weights.values())
    with pytest.raises(UnsupportedModelError, match=r"RTNeural's layers.*fastgru\.load"):
        read_weights(shared_models / "rtneural" / "gru.json")


def test_g2p_is_read_as_numpy_reads_it(shared_models: Path) -> None:
    path = shared_models / "g2p" / "checkpoint20.npz"
    weights = read_weights(path)
    with np.load(path) as expected:
        assert list(weights) == expected.files
        for name in expected.files:
            same(weights[name], expected[name])


def test_hdf5_and_keras_give_raw_weights(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    kernel = np.arange(6, dtype="f4").reshape(2, 3)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["model_weights/gru/gru/kernel:0"] = kernel
        file["optimizer_weights/iterations:0"] = np.int64(3)
    weights = read_weights(tmp_path / "m.h5")
    assert weights.format == "hdf5"
    assert list(weights) == ["model_weights/gru/gru/kernel:0"]
    same(weights.sub("model_weights/gru/gru")["kernel:0"], kernel)
    archive = zip_of(
        {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": (tmp_path / "m.h5").read_bytes()}
    )
    keras = read_weights(archive)
    assert keras.format == "keras"
    same(keras["model_weights/gru/gru/kernel:0"], kernel)
    with pytest.raises(InvalidModelError, match=r"has no model\.weights\.h5"):
        read_weights(zip_of({"config.json": b"{}"}))


@pytest.mark.parametrize(
    ("head", "way"),
    [
        (b"GGUF\x03\x00\x00\x00", "safetensors"),
        (b"\x1c\x00\x00\x00TFL3", "ONNX"),
        (b"<?xml version='1.0'?><net/>", "converted from"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_formats_of_others_are_named(head: bytes, way: str) -> None:
    with pytest.raises(UnsupportedModelError, match=way):
        detect_format(head + bytes(100))


PACKED = {
    "bitsandbytes (8 bits)": {"fc.weight": "i1", "fc.SCB": "f4", "fc.bias": "f4"},
    "bitsandbytes (4 bits)": {"fc.weight": "u1", "fc.weight.absmax": "f4", "fc.weight.quant_map": "f4"},
    "GPTQ": {"fc.qweight": "i4", "fc.qzeros": "i4", "fc.scales": "f2", "fc.g_idx": "i4"},
    "AWQ": {"fc.qweight": "i4", "fc.qzeros": "i4", "fc.scales": "f2"},
    "quanto": {"fc.weight._data": "i1", "fc.weight._scale": "f4"},
    "compressed-tensors": {"fc.weight_packed": "i4", "fc.weight_scale": "f2"},
}


@pytest.mark.parametrize("library", PACKED)
def test_weights_that_another_library_packed_are_refused_by_its_name(library: str) -> None:
    tensors = {name: np.zeros((2, 2), dtype) for name, dtype in PACKED[library].items()}
    message = f"quantised and packed by {re.escape(library)}.*state dict of the float model.*precision='int8'"
    for read in (read_weights, fastgru.load):
        with pytest.raises(UnsupportedModelError, match=message):
            read(safetensors.numpy.save(tensors))
    del tensors[next(name for name in tensors if name.endswith((".SCB", ".absmax", ".qweight", "_scale")))]
    assert set(read_weights(safetensors.numpy.save(tensors))) == set(tensors)
