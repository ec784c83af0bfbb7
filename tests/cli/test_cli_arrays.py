"""Arrays in and out of files for the command line."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest

from fastgru.cli.arrays import fit, name_inputs, read_arrays, write_arrays
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.spec import GRUSpec

SPECS = (
    TensorSpec("h0", "float32", (1, None, 4)),
    TensorSpec("x", "float32", (None, None, 3)),
    TensorSpec("lengths", "int64", (None,)),
)
STATES = {"h0": "hn"}


def gru_graph(*, batch_first: bool) -> Graph:
    spec = GRUSpec(3, 4, batch_first=batch_first)
    return Graph(
        SPECS,
        (TensorSpec("y", "float32", None), TensorSpec("hn", "float32", None)),
        (Node("gru", ("x", "h0", "lengths", "", "w", "u", "", ""), ("y", "hn"), {"spec": spec.to_dict()}),),
        {"w": np.ones((12, 3), np.float32), "u": np.ones((12, 4), np.float32)},
        STATES,
    ).validate()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_what_is_written_is_read_again(suffix: str, tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    write_arrays(tmp_path / f"a{suffix}", {"y": array})
    (name, again), *rest = read_arrays(tmp_path / f"a{suffix}").items()
    assert not rest
    assert name == ("y" if suffix == ".npz" else "")
    assert np.array_equal(again.astype(np.float32), array)


def test_an_npz_takes_any_name(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b:0": np.eye(2), "x": np.array(True)}
    write_arrays(tmp_path / "a.npz", arrays)
    again = read_arrays(tmp_path / "a.npz")
    assert list(again) == list(arrays)
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


def test_a_csv_may_have_a_header_and_a_single_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4.5\n\n")
    assert read_arrays(tmp_path / "a.csv")[""].tolist() == [[1, 2], [3, 4.5]]
    (tmp_path / "b.csv").write_text("1e-3\n-inf\n")
    assert read_arrays(tmp_path / "b.csv")[""].tolist() == [[0.001], [-np.inf]]


def _npy(shape: str) -> bytes:
    """The head of a .npy that says it holds that much, and nothing after it."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "contains no numbers"),
        ("a.csv", b"x,y\n", "contains no numbers"),
        ("a.csv", b"1,2\n3\n", "different lengths"),
        ("a.csv", b"1,2\n3,four\n", "not readable"),
        ("a.npy", b"\x93NUMPY\x01", "not readable"),
        ("a.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4',", "not readable"),
        ("a.npy", _npy("(10000000000000, 42)"), "not readable"),
        ("a.csv", b"1" * 140_000, "not readable"),
        ("a.npz", b"PK\x03\x04 nothing", "not readable"),
        ("a.txt", b"1", "expected a .npy"),
    ],
)
def test_damaged_files_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(click.UsageError, match=message):
        read_arrays(tmp_path / name)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(click.UsageError, match="not readable"):
        read_arrays(tmp_path / "a.npy")


def test_inputs_are_named(tmp_path: Path) -> None:
    x, lengths, h0 = np.zeros((2, 5, 3)), np.array([5, 2]), np.ones((1, 2, 4))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "l.npy", lengths)
    np.savez(tmp_path / "all.npz", x=x, lengths=lengths, h0=h0)
    np.savez(tmp_path / "one.npz", something=x)

    def names(*options: str) -> dict[str, tuple[int, ...]]:
        return {k: a.shape for k, a in name_inputs("--data", options, SPECS, STATES).items()}

    files = {name: str(tmp_path / name) for name in ("x.npy", "l.npy", "all.npz", "one.npz")}
    # A file without a name never goes to a state while an input waits.
    assert names(files["x.npy"]) == {"x": x.shape}
    assert names(files["x.npy"], files["l.npy"]) == {"x": x.shape, "lengths": (2,)}
    assert names(files["x.npy"], f"x={files['x.npy']}") == {"x": x.shape, "lengths": x.shape}
    assert names(files["all.npz"]) == {"x": x.shape, "lengths": (2,), "h0": h0.shape}
    assert names(f"x={files['one.npz']}") == {"x": x.shape}
    for options, message in (
        ((f"y={files['x.npy']}",), "no input is called 'y'"),
        ((f"x={files['x.npy']}", f"x={files['x.npy']}"), "twice"),
        ((f"x={files['all.npz']}",), "holds 3 arrays"),
        ((files["x.npy"],) * 4, "every input has its array"),
        ((files["one.npz"],), "no input is called 'something'; there are h0, x, lengths; --data x=.*one.npz gives"),
    ):
        with pytest.raises(click.UsageError, match=f"^--data .*{message}"):
            names(*options)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_table_becomes_a_batch_of_one(batch_first: bool) -> None:
    graph = gru_graph(batch_first=batch_first)
    x = np.arange(15.0).reshape(5, 3)
    fitted = fit(x, SPECS[1], graph)
    assert fitted.shape == ((1, 5, 3) if batch_first else (5, 1, 3))
    assert np.array_equal(fitted.squeeze(), x)
    assert fit(np.array([[4.0], [2.0]]), SPECS[2], graph).tolist() == [4, 2]


def test_numbers_take_the_dtype_of_the_input_only_where_nothing_is_lost() -> None:
    graph = gru_graph(batch_first=True)
    assert fit(np.array([4.0, 2.0]), SPECS[2], graph).dtype == np.int64
    assert fit(np.array([4.5, 2.0]), SPECS[2], graph).dtype == np.float64  # the model will refuse it
    assert fit(np.zeros((1, 2, 3), np.int32), SPECS[1], graph).dtype == np.float32
    assert fit(np.array([0, 1]), TensorSpec("m", "bool", (None,)), graph).dtype == np.bool_
    assert fit(np.array([0, 2]), TensorSpec("m", "bool", (None,)), graph).dtype != np.bool_


def test_outputs_that_do_not_fit_a_format_are_refused(tmp_path: Path) -> None:
    two = {"y": np.zeros(2), "hn": np.zeros(2)}
    for name, arrays, message in (
        ("a.npy", two, "2 outputs"),
        ("a.csv", {"y": np.zeros((2, 3, 4))}, "does not fit a table"),
        ("a.mat", {"y": np.zeros(2)}, "expected .npz"),
    ):
        with pytest.raises(click.UsageError, match=message):
            write_arrays(tmp_path / name, arrays)
