"""Tensor data in files beside the model: read where it is safe, refused where it is not."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import onnx
import pytest
from onnx_build import gru_arrays, gru_model, ort_run

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.onnx import read_onnx
from fastgru.importers.onnx.external import ExternalData
from fastgru.reference import run_graph


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(2)
    feeds = {"x": rng.standard_normal((3, 2, 3)).astype(np.float32)}
    model = gru_model(feeds, gru_arrays(rng, I=3, H=4, D=1))
    expected = ort_run(model, feeds)
    inner = tmp_path / "model"
    inner.mkdir()
    onnx.save(
        model, inner / "m.onnx", save_as_external_data=True, all_tensors_to_one_file=True,
        location="m.data", size_threshold=0,
    )  # fmt: skip
    return inner, feeds, expected


def edit(folder, **entries):
    """Change the entries of the first tensor's external data; None takes one away."""
    model = onnx.load(folder / "m.onnx", load_external_data=False)
    tensor = model.graph.initializer[0]
    held = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in held.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_data_beside_the_model(folder):
    path, feeds, expected = folder
    results = run_graph(read_onnx(path / "m.onnx"), feeds)
    for name in expected:
        assert np.abs(results[name] - expected[name]).max() < 2e-6


def test_a_model_and_its_data_reached_through_links(folder, tmp_path):
    path, _, _ = folder
    cache = tmp_path / "snapshot"
    cache.mkdir()
    for name in ("m.onnx", "m.data"):
        (cache / name).symlink_to(path / name)
    assert read_onnx(cache / "m.onnx").num_parameters > 0


def test_offset_and_length_may_be_left_out(folder):
    path, _, _ = folder
    W = np.ones((1, 12, 3), "<f4")
    (path / "w.data").write_bytes(W.tobytes())
    graph = read_onnx(edit(path, location="w.data", offset=None, length=None))
    assert (graph.constants["the_gru.weight_ih.0"] == 1).all()


def test_a_checksum_is_held_against_the_file(folder):
    path, _, _ = folder
    good = hashlib.sha1((path / "m.data").read_bytes()).hexdigest()
    assert read_onnx(edit(path, checksum=good)).nodes
    with pytest.raises(InvalidModelError, match="checksum"):
        read_onnx(edit(path, checksum="0" * 40))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../outside.data"}, "inside the folder of the model"),
        ({"location": "sub/../../outside.data"}, "inside the folder of the model"),
        ({"location": "..\\outside.data"}, "inside the folder of the model"),
        ({"location": "C:\\outside.data"}, "inside the folder of the model"),
        ({"location": os.path.abspath(os.sep + "etc/hostname")}, "inside the folder of the model"),
        ({"location": ""}, "inside the folder of the model"),
        ({"location": "a\0b"}, "inside the folder of the model"),
        ({"location": "not_there.data"}, "cannot be read"),
        ({"location": "link.data"}, "outside the folder of the model"),
        ({"location": "linked/outside.data"}, "outside the folder of the model"),
        ({"location": "pipe.data"}, "not a regular file"),
        ({"location": "."}, "a directory"),
        ({"offset": -4}, "offset '-4'"),
        ({"offset": "four"}, "offset 'four'"),
        ({"offset": 10**6}, "which has"),
        ({"offset": "9" * 30}, "whole number"),
        ({"length": 4}, "external data have 4 bytes, expected 144"),
        ({"length": 1 << 40}, "expected 144"),
    ],
)
def test_what_is_refused(folder, tmp_path, entries, message):
    path, _, _ = folder
    (tmp_path / "outside.data").write_bytes(bytes(1 << 12))
    (path / "link.data").symlink_to(tmp_path / "outside.data")
    (path / "linked").symlink_to(tmp_path)
    os.mkfifo(path / "pipe.data")
    with pytest.raises(InvalidModelError, match=message) as caught:
        read_onnx(edit(path, **entries))
    assert "initializer 'W'" in str(caught.value)


def test_unknown_keys_are_refused(folder):
    with pytest.raises(UnsupportedModelError, match="basepath"):
        read_onnx(edit(folder[0], basepath="elsewhere"))


def test_a_model_given_as_bytes_has_no_folder(folder):
    with pytest.raises(InvalidModelError, match="give the path"):
        read_onnx((folder[0] / "m.onnx").read_bytes())


def test_a_truncated_data_file(folder):
    data = folder[0] / "m.data"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(InvalidModelError, match="which has 100"):
        read_onnx(folder[0] / "m.onnx")


def test_data_can_be_read_again_after_a_close(folder):
    tensor = onnx.load(folder[0] / "m.onnx", load_external_data=False).graph.initializer[0]
    external = ExternalData(str(folder[0] / "m.onnx"))
    before = bytes(external.read(tensor, 144, "W"))
    external.close()
    assert bytes(external.read(tensor, 144, "W")) == before
    external.close()
