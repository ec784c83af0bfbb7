"""`fastgru.verify` on files: what it asks other runtimes, and what it does when they cannot be asked."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import fastgru
from fastgru.cli.charmodel import DATA
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.verify import runtimes as runtimes_module
from fastgru.verify import verify

GOLDEN = Path(__file__).parents[1] / "data"
ONNX = sorted((GOLDEN / "onnx").glob("*.onnx"))


@pytest.mark.parametrize("path", ONNX, ids=lambda p: p.stem)
def test_exports_of_torch_hold_against_onnxruntime(path: Path) -> None:
    pytest.importorskip("onnxruntime")
    report = verify(path)
    assert report.holds, report
    assert {check.against.split()[0] for check in report.checks} == {"definition", "onnxruntime"}
    assert report.skipped == ()


def test_a_wrong_reading_of_a_file_is_found_by_its_runtime(tmp_path: Path) -> None:
    """The definition runs the same graph, so only the runtime of the file can tell that it was misread."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path = GOLDEN / "onnx" / "ragged_trace_14.onnx"
    graph = fastgru.load_graph(path, linear_before_reset=0)
    opened = runtimes_module.open_runtime("onnxruntime", path, graph)
    assert isinstance(opened, runtimes_module.Runtime)
    assert opened.name == f"onnxruntime {onnxruntime.__version__}"
    from fastgru.model import Model
    from fastgru.verify.check import verify_graph

    report = verify_graph(graph, Model(graph).run, opponents=[opened])
    assert {check.against.split()[0]: check.holds for check in report.checks} == {
        "definition": True,
        "onnxruntime": False,
    }


def test_a_file_that_is_read_otherwise_than_its_runtime_reads_it_is_not_compared() -> None:
    path = GOLDEN / "onnx" / "ragged_trace_14.onnx"
    report = verify(path, linear_before_reset=0)
    assert report.holds
    assert [name for name, _ in report.skipped] == ["onnxruntime"]
    assert find_spec("onnxruntime") is None or "linear_before_reset" in report.skipped[0][1]


def test_bytes_are_compared_with_the_definition_only() -> None:
    report = verify((GOLDEN / "onnx" / "denoiser_trace_17.onnx").read_bytes())
    assert report.holds
    assert {check.against for check in report.checks} == {"definition"}
    assert [name for name, _ in report.skipped] == ["onnxruntime"]


def test_our_own_file_in_float64() -> None:
    report = verify(DATA / "demo.safetensors", precision="float64")
    assert report.holds
    assert report.skipped == ()
    assert all(check.max_abs < 1e-11 for check in report.checks)


@pytest.mark.parametrize("name", ["bidirectional_states", "gate_functions", "masking", "functions", "merges"])
def test_models_of_keras_hold_against_keras(name: str, tmp_path: Path) -> None:
    if find_spec("keras") is None or not any(map(find_spec, ("tensorflow", "jax", "torch"))):
        pytest.skip("keras is not installed")
    with zipfile.ZipFile(GOLDEN / "keras" / "keras3.zip") as archive:
        archive.extract(f"{name}.keras", tmp_path)
    report = verify(tmp_path / f"{name}.keras")
    assert report.holds, report
    assert any(check.against.startswith("keras ") for check in report.checks), report.skipped


@pytest.mark.parametrize("name", ["1_bi_bias_float32_zip", "3_bi_nobias_bfloat16_legacy", "2_uni_bias_bfloat16_zip"])
def test_the_grus_of_a_checkpoint_hold(name: str) -> None:
    report = verify(GOLDEN / "torch" / f"{name}.pt")
    assert report.holds, report
    assert report.cases
    wanted = {"definition", "torch"} if find_spec("torch") else {"definition"}
    assert {check.against.split()[0] for check in report.checks} == wanted


def test_what_cannot_be_verified_says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "no_gru.npz", a=np.zeros(3))
    with pytest.raises(UnsupportedModelError, match=r"no_gru\.npz"):
        verify(tmp_path / "no_gru.npz")
    with pytest.raises(UnsupportedModelError):
        verify(GOLDEN / "torch" / "1_bi_bias_float32_zip.pt", inputs={"x": np.zeros((1, 1, 3))})
    (tmp_path / "damaged.onnx").write_bytes(ONNX[0].read_bytes()[:-100])
    with pytest.raises(InvalidModelError):
        verify(tmp_path / "damaged.onnx")


def test_a_runtime_that_is_not_installed_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes_module.importlib.util, "find_spec", lambda name: None)
    report = verify(ONNX[0])
    assert report.holds
    assert report.skipped == (("onnxruntime", "not installed"),)


def test_runtimes_can_be_left_out() -> None:
    report = verify(ONNX[0], runtimes=False)
    assert report.holds
    assert report.skipped == ()
    assert {check.against for check in report.checks} == {"definition"}


@pytest.mark.parametrize("has_vnni", [False, True])
@pytest.mark.parametrize("largest", [64, 65])
def test_sums_that_onnxruntime_saturates_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int, has_vnni: bool
) -> None:
    """Two products of 255 and 65 exceed 16 bits."""
    pytest.importorskip("onnxruntime")
    numbers = {"s": np.float32(0.01), "z": np.uint8(0), "ws": np.float32(0.01), "wz": np.int8(0)}
    constants = numbers | {"w": np.full((8, 4), largest, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearMatMul", ["q", "s", "z", "w", "ws", "wz", "s", "z"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = tmp_path / "bytes.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    monkeypatch.setattr(runtimes_module, "host_features", lambda: {"sse4.2": True, "avx512vnni": has_vnni})
    opened = runtimes_module.open_runtime("onnxruntime", path, fastgru.load_graph(path))
    if largest == 65 and not has_vnni:
        assert opened == "on this CPU, which has no VNNI, it may saturate the sums of QLinearMatMul 'p'"
    else:
        assert isinstance(opened, runtimes_module.Runtime)
