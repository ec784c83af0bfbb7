"""Keras's files as they are found: written on Windows, packed again, of Keras 1."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_files import gru_by_hand, hard_sigmoid_of_keras_2

import fastgru
from fastgru.errors import InvalidModelError
from fastgru.importers.keras import read_keras
from fastgru.reference import run_graph

h5py = pytest.importorskip("h5py")

FOLDER = Path(__file__).parent.parent / "data" / "keras"


def golden(name: str, member: str) -> tuple[dict[str, bytes], Any]:
    """The members of an archive that Keras wrote, and its inputs and outputs."""
    files = zipfile.ZipFile(FOLDER / f"{name}.zip")
    archive = zipfile.ZipFile(io.BytesIO(files.read(f"{member}.keras")))
    values = np.load(io.BytesIO(files.read(f"{member}.npz")))
    return {n: archive.read(n) for n in archive.namelist()}, values


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo()
            info.filename = name  # zipfile itself would turn backslashes, where it runs on Windows
            archive.writestr(info, content)
    return buffer.getvalue()


def with_backslashes(weights: bytes) -> bytes:
    """As `os.path.join` on Windows made the names of groups: "layers\\gru\\cell/vars/0"."""
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as source, h5py.File(buffer, "w") as target:

        def copy(name: str, item: Any) -> None:
            group, found, number = name.rpartition("/vars")
            if isinstance(item, h5py.Dataset) and found:
                target[group.replace("/", "\\") + found + number] = item[()]

        source.visititems(copy)
    return buffer.getvalue()


def check(content: bytes, values: Any) -> None:
    graph = read_keras(content)
    given = [values[key] for key in values.files if key.startswith("in:")]
    feed = {spec.name: x.astype(spec.dtype) for spec, x in zip(graph.inputs, given, strict=True)}
    outputs = run_graph(graph, feed)
    expected = [values[key] for key in values.files if key.startswith("out")]
    for spec, want in zip(graph.outputs, expected, strict=True):
        np.testing.assert_allclose(outputs[spec.name], want, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["keras2", "keras3"])
@pytest.mark.parametrize("member", ["sequential", "bidirectional_merges", "embedding", "gate_functions"])
def test_archives_written_on_windows_are_read(name: str, member: str) -> None:
    members, values = golden(name, member)
    check(zipped({**members, "model.weights.h5": with_backslashes(members["model.weights.h5"])}), values)


def test_weights_written_on_windows_have_plain_names() -> None:
    members, _ = golden("keras3", "sequential")
    plain = fastgru.read_weights(members["model.weights.h5"])
    assert list(fastgru.read_weights(with_backslashes(members["model.weights.h5"]))) == list(plain)


def test_two_objects_of_one_name_are_refused() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["a/b/c"] = np.zeros(2)
        file["a\\b/c"] = np.ones(2)
    with pytest.raises(InvalidModelError, match="two objects have the name 'a/b'"):
        fastgru.read_weights(buffer.getvalue())


@pytest.mark.parametrize(
    ("before", "more"),
    [
        ("model/", {}),
        ("model\\", {}),
        ("./", {}),
        ("a/b/", {"a/": b"", "a/b/": b""}),
        ("model/", {"__MACOSX/model/._config.json": b"\x00\x05\x16\x07", ".DS_Store": b"", "__MACOSX/._model": b""}),
        ("", {"assets/tokenizer/config.json": b"[]", "assets\\tokenizer\\vocabulary.txt": b""}),
    ],
    ids=["folder", "backslash", "dot", "folders", "mac", "assets"],
)
def test_archives_packed_again_are_read(before: str, more: dict[str, bytes], tmp_path: Path) -> None:
    members, values = golden("keras3", "sequential")
    content = zipped({**more, **{before + name: value for name, value in members.items()}})
    check(content, values)
    assert list(fastgru.read_weights(content)) == list(fastgru.read_weights(zipped(members)))


def test_archives_of_two_models_are_refused() -> None:
    members, _ = golden("keras3", "sequential")
    content = zipped({f"{folder}/{name}": value for folder in "ab" for name, value in members.items()})
    with pytest.raises(InvalidModelError, match=r"no config\.json"):
        read_keras(content)


def test_a_gru_of_keras_1_is_made_of_its_nine_arrays() -> None:
    rng = np.random.default_rng(0)
    W, U, b = (rng.normal(0, 0.5, (3, *shape)).astype(np.float32) for shape in ((4, 5), (5, 5), (5,)))
    x = rng.normal(0, 1, (2, 6, 4)).astype(np.float32)
    joined = [np.concatenate(list(a), axis=-1) for a in (W, U, b)]
    want = gru_by_hand(x, *joined, gate=hard_sigmoid_of_keras_2)
    options: dict[str, Any] = {"reset_after": False, "recurrent_activation": "hard_sigmoid", "keras_version": 1}
    gru = fastgru.GRU.from_keras(list(W), list(U), list(b), **options)
    np.testing.assert_allclose(gru(x)[0], want, rtol=0, atol=1e-5)
    without = fastgru.GRU.from_keras(list(W), list(U), **options)
    np.testing.assert_allclose(without(x)[0], gru_by_hand(x, *joined[:2], 0 * joined[2], gate=hard_sigmoid_of_keras_2),
                               rtol=0, atol=1e-5)  # fmt: skip
    with pytest.raises(fastgru.ShapeError, match="bias"):
        fastgru.GRU.from_keras(list(W), list(U), list(b))
