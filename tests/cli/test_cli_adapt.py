"""`fastgru adapt`: files in, adapted files out; what is frozen, interrupted, resumed and refused."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from readme_files import make_readme_files
from users import child

import fastgru
from fastgru.cli.biases import lone_biases
from fastgru.cli.charmodel import DATA
from fastgru.load import load_graph

DEMO = DATA / "demo.safetensors"
DEVIL = Path("/usr/share/dictd/devil.dict.dz")
Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    words = ("the quick", "brown fox", "jumps over,", "a lazy dog.", "and again:", "nothing new\n")
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(rng.choice(words, 2_000)))
    return path


def constants_of(path: Path) -> dict[str, np.ndarray]:
    return {name: np.array(a) for name, a in load_graph(path).constants.items()}


def asked(text: Path, output: Path, *more: object) -> tuple[object, ...]:
    return ("adapt", DEMO, "--data", text, "-o", output, "--batch", 4, "--window", 48, *more)


def test_the_shipped_model_learns_a_text_and_writes_it(invoke: Invoke, text: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.safetensors"
    typed = asked(text, made, "--steps", 40, "--lr", 3e-3, "--train", "head.,gru.weight_hh_l1", "--json")
    found = json.loads(invoke(*typed).stdout)
    assert found["bits_after"] < 0.8 * found["bits_before"]
    assert found["native"]
    assert found["trained"] == ["gru.weight_hh_l1", "head.weight", "head.bias"]
    before, after = constants_of(DEMO), constants_of(made)
    assert list(before) == list(after)
    changed = {name for name, a in before.items() if not np.array_equal(a, after[name])}
    assert changed == set(found["trained"])
    model = fastgru.load(made)
    assert model.graph.meta["bits_per_character"] == f"{found['bits_after']:.3f}"
    assert json.loads(model.graph.meta["alphabet"])
    stream = model.stream(batch_size=1)
    assert np.isfinite(stream.push(np.zeros((1, 3), np.int64))).all()
    assert not list(tmp_path.glob("*.checkpoint"))
    assert "exists already" in invoke(*typed).output
    said = invoke(*typed[:-1], "--force")
    assert said.exit_code == 0
    assert re.search(r"in step 1, [\d.]+ in step 40; each step sees other data", " ".join(said.stdout.split()))
    assert re.search(r"held out +[\d.]+ bits a character before, [\d.]+ now, [\d.]+% less", said.stdout)


def test_the_same_call_gives_the_same_file(invoke: Invoke, text: Path, tmp_path: Path) -> None:
    files = []
    for threads in (1, 2):
        invoke(*asked(text, tmp_path / f"{threads}.safetensors", "--steps", 5, "--threads", threads))
        files.append((tmp_path / f"{threads}.safetensors").read_bytes())
    assert files[0] == files[1]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_interrupted_and_resumed_gives_the_same_file(invoke: Invoke, text: Path, tmp_path: Path) -> None:
    typed = [str(a) for a in asked(text, tmp_path / "made.safetensors", "--steps", 150, "--clip-norm", 1)]
    with child(
        [sys.executable, "-m", "fastgru", *typed, "--checkpoint", str(tmp_path / "kept")],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while not (tmp_path / "kept").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("it ended before it was interrupted")
    assert process.returncode == 130, said
    assert "run the same command again to continue from" in " ".join(said.split())
    assert not (tmp_path / "made.safetensors").exists()
    resumed = json.loads(invoke(*typed, "--checkpoint", tmp_path / "kept", "--json").stdout)
    assert resumed["resumed"]
    straight = json.loads(
        invoke(*asked(text, tmp_path / "all.safetensors", "--steps", 150, "--clip-norm", 1, "--json")).stdout
    )
    assert not straight["resumed"]
    assert (tmp_path / "made.safetensors").read_bytes() == (tmp_path / "all.safetensors").read_bytes()


def test_a_checkpoint_of_something_else_is_refused(invoke: Invoke, text: Path, tmp_path: Path) -> None:
    kept = ("--checkpoint", tmp_path / "kept", "--force", "--steps")
    assert invoke(*asked(text, tmp_path / "a.safetensors", *kept, 2)).exit_code == 0
    other = invoke(*asked(text, tmp_path / "a.safetensors", *kept, 2, "--lr", 0.5))
    assert other.exit_code == 2
    assert "other settings" in other.output
    assert invoke(*asked(text, tmp_path / "a.safetensors", *kept, 2, "--lr", 0.5, "--restart")).exit_code == 0
    more = json.loads(invoke(*asked(text, tmp_path / "a.safetensors", *kept, 5, "--lr", 0.5, "--json")).stdout)
    assert (more["resumed"], more["steps_done"]) == (True, 5)


def test_targets_are_shaped_as_the_output_that_is_named(invoke: Invoke, gru_onnx: Path, tmp_path: Path) -> None:
    rng, made = np.random.default_rng(3), tmp_path / "made.safetensors"
    x, targets = rng.standard_normal((6, 8, 3)), rng.uniform(-0.5, 0.5, (6, 1, 8, 5))
    np.savez(tmp_path / "pairs.npz", x=x, targets=targets)
    typed = ("adapt", gru_onnx, "--data", tmp_path / "pairs.npz", "-o", made, "--output-name", "Y", "--epochs", 3)
    refused = invoke(*typed)
    assert refused.exit_code == 2
    assert "targets has shape (6, 1, 8, 5), expected (6, 8)" in refused.output


@pytest.mark.parametrize("kind", ["rows", "one row"])
def test_an_onnx_export_learns_natively(invoke: Invoke, tmp_path: Path, kind: str) -> None:
    make_readme_files(tmp_path)
    rng = np.random.default_rng(4)
    x = rng.standard_normal((20, 6, 40) if kind == "rows" else (20, 40), dtype=np.float32)
    targets = rng.integers(0, 10, x.shape[:-1])
    np.savez(tmp_path / "pairs.npz", x=x, targets=targets)
    typed = ("adapt", tmp_path / "model.onnx", "--data", tmp_path / "pairs.npz", "-o", tmp_path / "made.safetensors")
    found = json.loads(invoke(*typed, "--train", "fc.", "--lr", 0.05, "--epochs", 8, "--held-out", 0, "--json").stdout)
    assert found["native"]
    assert found["loss"] == "cross_entropy"
    assert found["last_loss"] < found["first_loss"]
    before, after = constants_of(tmp_path / "model.onnx"), constants_of(tmp_path / "made.safetensors")
    assert {n for n, a in before.items() if not np.array_equal(a, after[n])} == {"fc.weight", "fc.bias"}


def test_the_gru_of_a_keras_file_learns_natively(invoke: Invoke, tmp_path: Path) -> None:
    """Its last layer gives one distribution a sequence."""
    make_readme_files(tmp_path)
    rng = np.random.default_rng(5)
    x = rng.standard_normal((20, 7, 3), dtype=np.float32)
    np.savez(tmp_path / "pairs.npz", x=x, input_layer=x, targets=(x[:, -1, 0] > 0).astype(np.int64))
    typed = ["adapt", tmp_path / "model.keras", "--data", tmp_path / "pairs.npz", "-o", tmp_path / "made.safetensors"]
    assert "got x, expected input_layer, targets, mask" in invoke(*typed).output
    np.savez(tmp_path / "pairs.npz", input_layer=x, targets=(x[:, -1, 0] > 0).astype(np.int64))
    found = json.loads(invoke(*typed, "--train", "dense/", "--lr", 0.05, "--epochs", 20, "--json").stdout)
    assert found["native"]
    assert found["loss"] == "cross_entropy_of_probabilities"
    assert found["held_out_after"] <= found["held_out_before"]
    assert found["last_loss"] < found["first_loss"]


def test_lengths_and_masks_say_what_counts(invoke: Invoke, tmp_path: Path) -> None:
    """Whatever stands behind the end of a row changes nothing."""
    make_readme_files(tmp_path)
    rng = np.random.default_rng(6)
    x, targets = rng.standard_normal((9, 4, 40), dtype=np.float32), rng.integers(0, 10, (9, 4))
    lengths = np.array([9, 4, 7, 1])
    within = np.arange(9)[:, None] < lengths
    files = []
    for k, more in enumerate(({"lengths": lengths}, {"mask": within}, {"lengths": lengths, "mask": within})):
        np.savez(tmp_path / "pairs.npz", x=np.where(within[..., None], x, k), targets=targets, **more)
        made = tmp_path / f"{k}.safetensors"
        typed = ("adapt", tmp_path / "model.onnx", "--data", tmp_path / "pairs.npz", "-o", made, "--held-out", 0)
        assert invoke(*typed).exit_code == 0
        files.append(constants_of(made))
    for other in files[1:]:
        for name, a in files[0].items():
            np.testing.assert_array_equal(a, other[name])


REFUSED = {
    "no output": (("--held-out", 2), "expected a share from 0"),
    "momentum": (("--momentum", 0.9), "adam has none"),
    "patience": (("--held-out", 0, "--patience", 2), "nothing out"),
    "names": (("--train", "nobody."), "there are no weights nobody."),
    "rows": (("--batch", 4_000), "expected at least"),
    "window": (("--window", 1_000_000), "one more than a window"),
    "held out": (("--held-out", "nowhere.txt"), "no such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_do_not_fit_are_refused(invoke: Invoke, text: Path, tmp_path: Path, case: str) -> None:
    more, said = REFUSED[case]
    result = invoke(*asked(text, tmp_path / "made.safetensors", *more))
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_data_that_does_not_fit_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    make_readme_files(tmp_path)
    rng, made = np.random.default_rng(7), tmp_path / "made.safetensors"
    x, targets = rng.standard_normal((9, 4, 40)), rng.integers(0, 10, (9, 4))
    bad = x.copy()
    bad[3, 2, 1] = np.nan
    for arrays, said in (
        ({"x": x}, "there is no targets"),
        ({"x": x, "targets": targets, "h0": x}, "states begin from zeros: h0"),
        ({"x": x, "targets": targets + 5}, "out of range"),
        ({"x": bad, "targets": targets}, "NaN"),
        ({"x": x, "targets": targets[:5]}, "targets has shape (5, 4), expected (9, 4)"),
        ({"x": x, "targets": targets, "lengths": np.array([1, 2, 3, 10])}, "expected 4 integers from 0 to 9"),
        ({"x": x, "targets": targets, "mask": np.ones((9, 3), bool)}, "mask is bool (9, 3)"),
        ({"x": x, "targets": targets.astype(str)}, "expected integers (classes) or floats"),
        ({"x": x, "targets": targets.astype(float)}, "expected floats for outputs of shape"),
    ):
        np.savez(tmp_path / "pairs.npz", **arrays)
        result = invoke("adapt", tmp_path / "model.onnx", "--data", tmp_path / "pairs.npz", "-o", made)
        assert result.exit_code == 2, said
        assert said in " ".join(result.output.split())
    for name, content, said in (
        ("empty.txt", b"", "the file is empty"),
        ("latin.txt", b"caf\xe9", "byte 3 is not UTF-8"),
        ("digits.txt", b"one\n2 three" * 50, "the first is in line 2; --skip-unknown"),
        ("short.txt", b"abc", "one more than a window"),
        ("pairs.csv", b"1,2", "expected an .npz file with tokens and targets"),
    ):
        (tmp_path / name).write_bytes(content)
        result = invoke("adapt", DEMO, "--data", tmp_path / name, "-o", made)
        assert result.exit_code == 2, said
        assert said in " ".join(result.output.split())
    (tmp_path / "a.txt").write_text("abc" * 99)
    assert "no alphabet" in invoke("adapt", tmp_path / "model.onnx", "--data", tmp_path / "a.txt", "-o", made).output
    small = tmp_path / "small.safetensors"
    fastgru.load(DEMO, precision="int8").save(small)
    assert "int8, which has no gradient" in " ".join(
        invoke("adapt", small, "--data", tmp_path / "a.txt", "-o", made, "--held-out", 0).output.split()
    )
    assert not made.exists()
    assert not list(tmp_path.glob("*.checkpoint"))


@pytest.mark.slow
@pytest.mark.skipif(not DEVIL.exists(), reason="needs the Debian package dict-devil, a text in the public domain")
def test_the_shipped_model_learns_the_devils_dictionary(invoke: Invoke, tmp_path: Path) -> None:
    """Ambrose Bierce, 1911, in the Debian package dict-devil; the last tenth is held out, the first layer frozen."""
    (tmp_path / "devil.txt").write_bytes(gzip.decompress(DEVIL.read_bytes()))
    made = tmp_path / "made.safetensors"
    typed = ["adapt", DEMO, "--data", tmp_path / "devil.txt", "--skip-unknown", "--epochs", 4, "--lr", 2e-3,
             "--clip-norm", 1, "--train", "head.,gru.weight_ih_l1,gru.weight_hh_l1",
             "--train", "gru.bias_ih_l1,gru.bias_hh_l1"]  # fmt: skip
    found = json.loads(invoke(*typed, "-o", made, "--json").stdout)
    print(f"{found['bits_before']:.3f} to {found['bits_after']:.3f} bits a character in {found['seconds']:.0f} s")
    assert found["bits_after"] <= 0.8 * found["bits_before"]
    before, after = constants_of(DEMO), constants_of(made)
    for name in ("embedding.weight", *(name for name in before if name.endswith("_l0"))):
        np.testing.assert_array_equal(before[name], after[name])


def test_the_losses_of_two_epochs_are_of_the_same_data(invoke: Invoke, tmp_path: Path) -> None:
    make_readme_files(tmp_path)
    typed = ("adapt", tmp_path / "model.onnx", "--data", tmp_path / "pairs.npz", "-o", tmp_path / "made.safetensors",
             "--force", "--train", "fc.weight", "--batch", 4, "--held-out", 0, "--window", 10)  # fmt: skip
    found = json.loads(invoke(*typed, "--lr", 0, "--epochs", 3, "--json").stdout)
    assert found["last_whole_epoch"] == 3
    assert found["last_epoch_loss"] == pytest.approx(found["first_epoch_loss"], rel=1e-6)
    assert found["first_epoch_loss"] != pytest.approx(found["first_loss"], rel=1e-6)
    said = invoke(*typed, "--epochs", 2).stdout
    assert re.search(r"loss +\w+: [\d.]+ in epoch 1, [\d.]+ in epoch 2\n", said), said
    one = json.loads(invoke(*typed, "--epochs", 1, "--json").stdout)
    assert (one["last_whole_epoch"], one["first_epoch_loss"]) == (None, None)


@pytest.mark.parametrize(("train", "warned"), [("fc.", True), ("fc.bias", False), ("fc.,onnx::MatMul_1", False)])
def test_a_bias_that_learns_without_its_matrix_is_told(
    train: str, warned: bool, invoke: Invoke, tmp_path: Path
) -> None:
    make_readme_files(tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    for array in model.graph.initializer:
        array.name = array.name.replace("fc.weight", "onnx::MatMul_1")
    for node in model.graph.node:
        node.input[:] = [name.replace("fc.weight", "onnx::MatMul_1") for name in node.input]
    onnx.save(model, tmp_path / "model.onnx")
    typed = ("adapt", tmp_path / "model.onnx", "--data", tmp_path / "pairs.npz", "-o", tmp_path / "a.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = invoke(*typed, "--train", train, "--steps", 1)
    assert result.exit_code == 0, result.output
    expected = "warning: --train fc. trains fc.bias without its matrix, which has the name onnx::MatMul_1; name the"
    assert (expected in " ".join(result.stderr.split())) is warned


def test_a_bias_of_the_same_node_as_its_matrix() -> None:
    graph = load_graph(DEMO)
    assert lone_biases(graph, ["head."]) == []
    assert lone_biases(graph, ["gru."]) == []
    other = replace(
        graph,
        constants={**graph.constants, "val_1": graph.constants["head.weight"]},
        nodes=tuple(
            replace(n, inputs=tuple("val_1" if i == "head.weight" else i for i in n.inputs)) for n in graph.nodes
        ),
    )
    assert lone_biases(other, ["head."]) == [("head.", "head.bias", ("val_1",))]
    assert lone_biases(other, ["head.bias"]) == lone_biases(other, ["head.", "val_1"]) == []
