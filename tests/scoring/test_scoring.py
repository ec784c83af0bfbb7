"""Data sets through a model: every format gives what `predict` gives, faults are told, an interrupted run goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from example_files import save_onnx, torch_gru
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from readme_files import draw
from slowness import within

import fastgru
from fastgru.cli import main
from fastgru.errors import DataError
from fastgru.scoring import score
from fastgru.scoring.job import _Run
from fastgru.scoring.parts import Parts, parts_of
from fastgru.scoring.sequences import Input, records

pa = pytest.importorskip("pyarrow", reason="not installed: the extra `data`")
pq = pytest.importorskip("pyarrow.parquet", reason="not installed: the extra `data`")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x (T, N, 3), h0 -> y (T, N, 2), hn."""
    path, rng = tmp_path_factory.mktemp("model") / "model.onnx", np.random.default_rng(0)
    save_onnx(path, torch_gru(rng, 3, 8, ""), (draw(rng, 2, 8), draw(rng, 2)))
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> fastgru.Model:
    return fastgru.load(file)


def make(lengths: list[int]) -> tuple[list[str], list[np.ndarray[Any, Any]]]:
    """(names, sequences)."""
    rng = np.random.default_rng(sum(lengths))
    return [f"s{k}" for k in range(len(lengths))], [rng.standard_normal((T, 3), dtype=np.float32) for T in lengths]


def steps(names: list[str], sequences: list[np.ndarray[Any, Any]]) -> dict[str, list[Any]]:
    """A row a step."""
    x = np.concatenate(sequences)
    ids = [name for name, s in zip(names, sequences, strict=True) for _ in s]
    return {"id": ids, **{c: x[:, k].tolist() for k, c in enumerate("abc")}}


def write(path: Path, table: dict[str, list[Any]]) -> Path:
    """As the suffix says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path)
    elif path.suffix == ".csv":
        rows = (",".join("" if v is None else str(v) for v in row) for row in zip(*table.values(), strict=True))
        path.write_text("\n".join([",".join(table), *rows]) + "\n", encoding="utf-8")
    else:
        rows = (json.dumps(dict(zip(table, row, strict=True))) for row in zip(*table.values(), strict=True))
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> dict[str, list[Any]]:
    if path.suffix == ".parquet":
        return dict(pq.read_table(path).to_pydict())
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def expected(model: fastgru.Model, sequences: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.concatenate([y for y, _ in model.predict(sequences)])


@pytest.mark.parametrize("target", ["parquet", "jsonl"])
@pytest.mark.parametrize("source", ["parquet", "csv", "jsonl"])
def test_rows_of_steps(model: fastgru.Model, tmp_path: Path, source: str, target: str) -> None:
    names, sequences = make([5, 1, 300, 41])
    table = steps(names, sequences)
    out = tmp_path / f"out.{target}"
    done = score(model, write(tmp_path / f"in.{source}", table), out, ids=["id"], outputs=["y"], part_rows=50)
    assert (done.rows, done.sequences, done.faults, done.resumed) == (347, 4, [], 0)
    found = read(out)
    assert list(found) == ["id", "y"]
    assert found["id"] == table["id"]
    np.testing.assert_array_equal(np.array(found["y"], np.float32), expected(model, sequences))
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == [out.name]


def test_an_output_a_sequence_is_a_row_a_sequence(model: fastgru.Model, tmp_path: Path) -> None:
    names, sequences = make([5, 7])
    score(model, write(tmp_path / "in.parquet", steps(names, sequences)), tmp_path / "out.parquet", ids=["id"])
    found = read(tmp_path / "out.parquet")
    assert found["id"] == names
    for y, hn, (right_y, right_hn) in zip(found["y"], found["hn"], model.predict(sequences), strict=True):
        np.testing.assert_array_equal(np.array(y, np.float32), right_y)
        np.testing.assert_array_equal(np.array(hn, np.float32), right_hn)


@pytest.mark.parametrize("source", ["parquet", "jsonl"])
def test_rows_of_lists(model: fastgru.Model, tmp_path: Path, source: str) -> None:
    names, sequences = make([5, 1, 30])
    tables = [
        {"name": names, "x": [s.tolist() for s in sequences]},
        {"name": names, **{c: [s[:, k].tolist() for s in sequences] for k, c in enumerate("abc")}},
        {
            "name": [n for n, s in zip(names, sequences, strict=True) for _ in s],
            "x": np.concatenate(sequences).tolist(),
        },
    ]
    for k, table in enumerate(tables):
        score(model, write(tmp_path / f"in{k}.{source}", table), tmp_path / f"o{k}.jsonl", ids=["name"], outputs=["y"])
        y = read(tmp_path / f"o{k}.jsonl")["y"]
        found = np.concatenate([np.array(each, np.float32) for each in y]) if k < 2 else np.array(y, np.float32)
        np.testing.assert_array_equal(found, expected(model, sequences))


def test_arrays_and_folders(model: fastgru.Model, tmp_path: Path) -> None:
    names, sequences = make([5, 1, 30])
    np.savez(tmp_path / "in.npz", **dict(zip(names, sequences, strict=True)))
    folder, tables = tmp_path / "arrays", tmp_path / "tables"
    folder.mkdir()
    tables.mkdir()
    for name, sequence in zip(names, sequences, strict=True):
        np.save(folder / f"{name}.npy", sequence)
        write(tables / f"{name}.csv", steps([name], [sequence]))
    for source, ids in ((tmp_path / "in.npz", ()), (folder, ()), (tables, ["id"])):
        score(model, source, tmp_path / "out.npz", ids=ids, outputs=["y"], restart=True)
        with np.load(tmp_path / "out.npz") as out:
            assert out.files == names
            np.testing.assert_array_equal(np.concatenate([out[name] for name in names]), expected(model, sequences))
    score(model, folder, tmp_path / "both.npz")
    with np.load(tmp_path / "both.npz") as out:
        assert out.files == [f"{name}/{output}" for name in names for output in ("y", "hn")]


FAULTS = [
    ("a", None, "a is null"),
    ("b", float("nan"), "a value of b is not finite"),
    ("id", None, "the id is null"),
    ("c", "many", "expected a number, got"),
]


@pytest.mark.parametrize("source", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(("column", "value", "reason"), FAULTS)
def test_a_row_with_a_fault(
    model: fastgru.Model, tmp_path: Path, source: str, column: str, value: Any, reason: str
) -> None:
    names, sequences = make([3, 4, 2])
    table = steps(names, sequences)
    table[column][3] = value
    if source == "parquet" and value == "many":
        table[column] = [str(v) for v in table[column]]
    path = write(tmp_path / f"in.{source}", table)
    with pytest.raises(DataError, match=r"row 3 \(the first is 0\)"):
        score(model, path, tmp_path / "stopped.parquet", ids=["id"], outputs=["y"])
    assert not (tmp_path / "stopped.parquet").exists()
    done = score(model, path, tmp_path / "out.parquet", ids=["id"], outputs=["y"], on_error="null", part_rows=1)
    assert [(f.row, reason in f.reason) for f in done.faults] == [(3, True)]
    found = read(tmp_path / "out.parquet")
    lost = [k for k, y in enumerate(found["y"]) if y is None]
    assert lost == ([3] if column == "id" else [3, 4, 5, 6])
    assert found["y"][:3] == expected(model, sequences)[:3].tolist()
    assert found["y"][7:] == expected(model, sequences)[7:].tolist()
    (listed,) = (tmp_path / "out.parquet.errors.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(listed)["row"] == 3


def test_a_line_that_is_no_json(model: fastgru.Model, tmp_path: Path) -> None:
    names, sequences = make([3, 2])
    path = write(tmp_path / "in.jsonl", steps(names, sequences))
    path.write_text(path.read_text(encoding="utf-8") + "{\n[1]\n", encoding="utf-8")
    done = score(model, path, tmp_path / "out.jsonl", ids=["id"], outputs=["y"], on_error="null")
    assert [fault.row for fault in done.faults] == [5, 6]
    assert all("no JSON" in fault.reason for fault in done.faults)
    assert len(read(tmp_path / "out.jsonl")["y"]) == 7


FIELDS = [
    ("s0,1,2,3,4", 1, 1, "expected 4 fields, got 5: 's0,1,2,3,4'"),  # too many, in the middle of a sequence
    ("s0", 1, 1, "expected 4 fields, got 1: 's0'"),
    ("1,2", 1, 1, "expected 4 fields, got 2"),  # of no id, between rows of one
    ("s1,1", 3, 1, "expected 4 fields, got 2"),  # the first row of a sequence, by its id
    ("1,2", 3, None, "expected 4 fields, got 2"),  # of no id, between two sequences
    ("s0," + 5_000 * "9,", 0, 1, "expected 4 fields, got 5002: 's0,9"),
    ('s1,"1', 7, 1, "expected 4 fields, got 2"),  # the last line
]


@pytest.mark.parametrize("block", [None, 64])
@pytest.mark.parametrize(("line", "row", "lost", "reason"), FIELDS)
def test_a_line_of_csv_with_other_fields_is_a_fault_of_its_sequence(
    model: fastgru.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, row: int, lost: int | None,
    reason: str, block: int | None,
) -> None:  # fmt: skip
    from pyarrow import csv

    if block is not None and len(line) < block:
        options = csv.ReadOptions
        monkeypatch.setattr(csv, "ReadOptions", lambda **given: options(block_size=block, **given))
    names, sequences = make([3, 4])
    path = write(tmp_path / "in.csv", steps(names, sequences))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines.insert(1 + row, line)
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")  # empty lines are no rows
    with pytest.raises(DataError, match=rf"row {row} \(the first is 0\).*line {2 * row + 3}: expected 4 fields"):
        score(model, path, tmp_path / "stopped.jsonl", ids=["id"], outputs=["y"])
    done = score(model, path, tmp_path / "out.jsonl", ids=["id"], outputs=["y"], on_error="null", part_rows=1)
    (fault,) = done.faults
    assert (done.rows, fault.row) == (8, row)
    assert fault.reason.startswith(f"line {2 * row + 3}: ")
    assert reason in fault.reason
    assert len(fault.reason) < 200
    found = read(tmp_path / "out.jsonl")["y"]
    if lost is None:
        assert fault.id == [None]
        assert [y for y in found if y is not None] == expected(model, sequences).tolist()
    else:
        at_fault = "s0" if row < 3 else "s1"
        assert fault.id == [at_fault]
        whole = sequences[1] if at_fault == "s0" else sequences[0]
        assert [y for y in found if y is not None] == expected(model, [whole]).tolist()


def test_a_lone_cr_ends_a_line_of_csv(model: fastgru.Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.csv").write_bytes(b"id,a,b,c\ns0,1,2\r,3\r\ns1,1\r,2,3\ns2,1,2,3\r")
    done = score(model, tmp_path / "in.csv", tmp_path / "out.jsonl", ids=["id"], outputs=["y"], on_error="null")
    assert [(fault.row, fault.reason[:7]) for fault in done.faults] == [(k, f"line {k + 2}:") for k in range(4)]
    assert read(tmp_path / "out.jsonl")["id"][-1] == "s2"
    assert capfd.readouterr().err == ""


QUOTED = [
    '"t\n0",1,2,3',
    '"s""\r\n,""\n0",1,2,3',
    's"0,1,2,3',
    '"s0"\'"x,1,2,3',
    f'"{200_000 * "s"}\n",1,2,3',
    ',"\n",2,3',
    '\n"s"',
]


@pytest.mark.parametrize("before", QUOTED)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_is_counted_as_an_editor_does(
    model: fastgru.Model, tmp_path: Path, before: str, end: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A field in quotes may have ends of lines in it; a torn row of several lines is told by its first."""
    text = f'\ufeffid,a,b,c{end}{before}{end}s1,1{end}{end}"s\n2",1{end}s3{end}s4,1,2,3{end}'
    (tmp_path / "in.csv").write_text(text, encoding="utf-8", newline="")
    done = score(model, tmp_path / "in.csv", tmp_path / "out.jsonl", ids=["id"], outputs=["y"], on_error="null")
    lines = (tmp_path / "in.csv").read_text(encoding="utf-8").split("\n")
    told = [fault.reason for fault in done.faults if "fields" in fault.reason][-3:]
    for reason, begin in zip(told, ["s1,1", '"s', "s3"], strict=True):
        assert reason.startswith(f"line {lines.index(begin) + 1}: expected 4 fields")
    assert capfd.readouterr().err == ""


def test_quotes_at_the_end_of_a_block(model: fastgru.Model, tmp_path: Path) -> None:
    """pyarrow reads a file in blocks of a megabyte."""
    rows = [f'"{k // 10}\n",1,2,3' for k in range(200_000)]
    (tmp_path / "in.csv").write_text("\n".join(["id,a,b,c", *rows, "s,1"]))
    done = score(model, tmp_path / "in.csv", tmp_path / "out.parquet", ids=["id"], outputs=["y"], on_error="null")
    assert (done.rows, done.sequences) == (200_001, 20_001)
    assert [fault.reason[:12] for fault in done.faults] == ["line 400002:"]


@pytest.mark.parametrize("line", [b"s\xff,1,2,3\n", b"s\xff,1\n", b"s,1,2,\xc3"])
def test_a_byte_that_is_not_utf8(
    model: fastgru.Model, tmp_path: Path, line: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    for rows in (2, 200_000):
        before = b"id,a,b,c\n" + "".join(f"é{k // 1000},1,2,3\n" for k in range(rows)).encode()
        (tmp_path / "in.csv").write_bytes(before + line)
        place = len(before) + min(line.find(b) for b in (b"\xff", b"\xc3") if b in line)
        with pytest.raises(DataError, match=rf"in.csv: byte {place} is not UTF-8, expected a table in UTF-8"):
            score(model, tmp_path / "in.csv", tmp_path / "out.parquet", ids=["id"], on_error="null", restart=True)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("text", ["id;a;b;c\ns;1;2;3\n", "id;a\ns;1,5\n", "id\ta\ns\t1\n", "id|a\ns|1\n"])
@pytest.mark.parametrize("ids", [["id"], []])
def test_another_separator_than_a_comma_is_told(
    model: fastgru.Model, tmp_path: Path, text: str, ids: list[str]
) -> None:
    (tmp_path / "in.csv").write_text(text)
    with pytest.raises(DataError, match=r"must be separated by commas, but its first line has .*: 'id"):
        score(model, tmp_path / "in.csv", tmp_path / "out.jsonl", ids=ids)


@pytest.mark.parametrize(
    ("name", "text"), [("in.csv", ""), ("in.csv", "\n\n"), ("in.csv", "id,a,b,c\n"), ("in.jsonl", "")]
)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "npz"])
def test_data_without_rows_are_no_error(
    model: fastgru.Model, tmp_path: Path, name: str, text: str, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text)
    done = score(model, tmp_path / name, tmp_path / f"out.{suffix}", ids=["id"], outputs=["y"], progress=True)
    assert (done.sequences, done.rows) == (0, 0)
    assert (tmp_path / f"out.{suffix}").exists()
    assert capfd.readouterr().err == ""


def test_a_file_of_csv_without_a_good_line(model: fastgru.Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,a,b,c\n1,2\n3\n")
    with pytest.raises(
        DataError, match=r"no line has the fields of the first; line 2: expected 4 fields, got 2: '1,2'"
    ):
        score(model, tmp_path / "in.csv", tmp_path / "out.jsonl", ids=["id"], on_error="null")


def test_an_interrupted_run_goes_on_behind_a_line_of_csv_with_other_fields(
    model: fastgru.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, sequences = make([3, 4, 2])
    path = write(tmp_path / "in.csv", steps(names, sequences))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3:3] = ["s0,1"]
    lines[9:9] = ["1", "2"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = {"ids": ["id"], "outputs": ["y"], "on_error": "null", "part_rows": 1}
    whole = score(model, path, tmp_path / "whole.jsonl", **options)
    written = Parts.write
    for _ in range(2):

        def stop(*given: Any, times: list[int] = [0]) -> None:  # noqa: B006
            times[0] += 1
            if times[0] == 2:
                raise KeyboardInterrupt
            written(*given)

        monkeypatch.setattr(Parts, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            score(model, path, tmp_path / "out.jsonl", **options)
    monkeypatch.setattr(Parts, "write", written)
    done = score(model, path, tmp_path / "out.jsonl", **options)
    assert done.resumed == 2
    assert done.faults == whole.faults
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def refused(model: fastgru.Model, tmp_path: Path, match: str, table: dict[str, list[Any]], **options: Any) -> None:
    with pytest.raises(DataError, match=match):
        score(model, write(tmp_path / "in.parquet", table), tmp_path / "out.parquet", **options)
    assert not (tmp_path / "out.parquet").exists()


def test_what_does_not_fit_is_refused_by_name(model: fastgru.Model, tmp_path: Path) -> None:
    table = steps(*make([3, 2]))
    refused(model, tmp_path, "no column wrong; its columns are id, a, b, c", table, ids=["wrong"])
    refused(model, tmp_path, "takes 3 values a step, but the columns have 2", table, ids=["id"], columns=["a", "b"])
    refused(model, tmp_path, "name the columns that tell which rows make a sequence", table, columns=["a", "b", "c"])
    refused(model, tmp_path, "outputs z: expected outputs of the model: y, hn", table, ids=["id"], outputs=["z"])
    refused(
        model,
        tmp_path,
        "columns of z: expected columns for inputs of the model: x",
        table,
        ids=["id"],
        columns={"z": ["a"]},
    )
    again = steps(["s", "t", "s"], make([1, 1, 1])[1])
    refused(model, tmp_path, r"row 2 .*'s' comes again", again, ids=["id"])
    refused(model, tmp_path, "column 'a': got struct", {"id": [1], "a": [{"b": 1}]}, ids=["id"])
    for bad in ("out.csv", "out"):
        with pytest.raises(DataError, match="expected a name that ends in"):
            score(model, tmp_path / "in.parquet", tmp_path / bad)
    for name, content in (("bad.parquet", b"PAR1"), ("bad.npz", b"PK"), ("bad.npy", b"\x93NUMPY")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            score(model, tmp_path / name, tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="expected one kind of"):
        score(model, tmp_path, tmp_path / "out.jsonl")


class StoppedError(Exception):
    """In the place of a crash."""


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=30),
    part_rows=st.integers(1, 80),
    stops=st.lists(st.integers(0, 6), max_size=4),
)
def test_a_run_that_is_stopped_goes_on(
    model: fastgru.Model, tmp_path_factory: pytest.TempPathFactory, lengths: list[int], part_rows: int, stops: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    names, sequences = make(lengths)
    source = write(folder / "in.parquet", steps(names, sequences))

    def run() -> Any:
        return score(model, source, folder / "out.parquet", ids=["id"], outputs=["y"], part_rows=part_rows)

    finished, right = Parts.write, False
    for stop in stops:
        left = [stop]

        def write_some(self: Parts, *arguments: Any, left: list[int] = left) -> None:
            if not left[0]:
                raise StoppedError
            left[0] -= 1
            finished(self, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Parts, "write", write_some)
            try:
                run()
                right = True
                break
            except StoppedError:
                assert not (folder / "out.parquet").exists()
    if not right:
        run()
    found = read(folder / "out.parquet")
    assert found["id"] == steps(names, sequences)["id"]
    np.testing.assert_array_equal(np.array(found["y"], np.float32), expected(model, sequences))


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_two_runs_do_not_write_one_output(
    file: Path, model: fastgru.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The second is refused while the first writes, whatever it was asked, and changes nothing."""
    source, out = write(tmp_path / "in.parquet", steps(*make([30, 20, 10]))), tmp_path / f"out.{suffix}"
    words = ["score", str(file), "--input", str(source), "--output", str(out), "--id", "id", "--outputs", "y"]
    found, told = _Run.results, list[str]()

    def results(self: _Run, *arguments: Any) -> Any:
        if not told:
            told.append("")
            told[0] = CliRunner().invoke(main, [*words, "--restart"]).stderr
        yield from found(self, *arguments)

    monkeypatch.setattr(_Run, "results", results)
    assert score(model, source, out, ids=["id"], outputs=["y"], part_rows=25).sequences == 3
    said = f"{out} is being written by another run (process {os.getpid()})"
    assert said in " ".join(told[0].split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", out.name]


def test_parts_of_another_job_are_refused(
    model: fastgru.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = steps(*make([30, 20, 10]))
    source, out = write(tmp_path / "in.parquet", table), tmp_path / "out.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "join", lambda self: (_ for _ in ()).throw(StoppedError))
        with pytest.raises(StoppedError):
            score(model, source, out, ids=["id"], outputs=["y"], part_rows=25)
    with pytest.raises(DataError, match=r"another job \(options changed\).*--restart"):
        score(model, source, out, ids=["id"], part_rows=25)
    write(source, steps(*make([30, 20, 11])))
    with pytest.raises(DataError, match=r"another job \(input changed\)"):
        score(model, source, out, ids=["id"], outputs=["y"], part_rows=25)
    done = score(model, source, out, ids=["id"], outputs=["y"], part_rows=25, restart=True)
    assert (done.sequences, done.resumed) == (3, 0)


def killed(file: Path, source: Path, out: Path, times: int) -> int:
    """Run the command, ended by SIGKILL at random moments, until it has finished; how often it was killed."""
    words = [sys.executable, "-m", "fastgru", "score", str(file), "--input", str(source), "--output", str(out)]
    words += ["--id", "id", "--outputs", "y"]
    chance, kills, longest = random.Random(0), 0, 2.0
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    while True:
        process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begin = time.monotonic()
        try:
            process.wait(chance.uniform(0, longest) if kills < times else within(300))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            if kills < times or not out.exists() or parts_of(out).exists():
                continue
            return kills  # it had finished, and was cleaning up
        assert process.returncode == 0 or (out.exists() and not parts_of(out).exists())
        if kills >= times:
            return kills
        longest = time.monotonic() - begin  # it was quicker than the kill: begin anew, and kill earlier
        out.unlink()


def make_large(path: Path, rows: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    lengths = rng.integers(10, 400, rows // 200).tolist()
    lengths[-1] += rows - sum(lengths) if sum(lengths) <= rows else 0
    names, sequences = make(lengths)
    pq.write_table(pa.table(steps(names, sequences)), path)
    return sequences


@pytest.mark.parametrize("rows", [200_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_ten_kills_lose_nothing(file: Path, model: fastgru.Model, tmp_path: Path, rows: int) -> None:
    sequences = make_large(tmp_path / "in.parquet", rows)
    assert killed(file, tmp_path / "in.parquet", tmp_path / "out.parquet", 10) == 10
    score(model, tmp_path / "in.parquet", tmp_path / "whole.parquet", ids=["id"], outputs=["y"])
    assert pq.read_table(tmp_path / "out.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))
    y = np.array(read(tmp_path / "out.parquet")["y"], np.float32)
    np.testing.assert_array_equal(y, expected(model, sequences))


def test_the_command(file: Path, model: fastgru.Model, tmp_path: Path) -> None:
    names, sequences = make([3, 4, 2])
    table = steps(names, sequences)
    table["a"][3] = None
    source, out = write(tmp_path / "in.csv", table), tmp_path / "out.jsonl"
    words = ["score", str(file), "--input", str(source), "--output", str(out), "--id", "id", "--outputs", "y"]
    stopped = CliRunner().invoke(main, words)
    assert stopped.exit_code == 2
    assert (
        "row 3 (the first is 0), sequence s1: a is null; with --on-error null, its outputs are null" in stopped.stderr
    )
    done = CliRunner().invoke(main, [*words, "--on-error", "null", "--restart"])
    assert done.exit_code == 0, done.output
    assert "3 sequences, 9 rows" in done.stdout
    assert "row 3: a is null" in done.stdout
    again = CliRunner().invoke(main, words)
    assert "exists already; overwrite it with --restart" in again.stderr
    out.unlink()
    told = CliRunner().invoke(main, [*words, "--on-error", "null", "--columns", "x=a,b,c", "--json"])
    assert json.loads(told.stdout)["faults"][0]["row"] == 3
    mixed = CliRunner().invoke(main, [*words, "--columns", "a", "--columns", "x=b"])
    assert "each input's columns" in mixed.stderr


def test_a_sequence_that_is_too_long_for_the_budget(file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", long=np.zeros((60_000, 3), np.float32))
    words = ["score", str(file), "--input", str(tmp_path / "in.npz"), "--output", str(tmp_path / "out.npz")]
    small = CliRunner().invoke(main, [*words, "--budget", "1"])
    assert small.exit_code == 2
    assert "budget" in small.stderr
    assert CliRunner().invoke(main, [*words, "--budget", "64"]).exit_code == 0


NUMBERS = [
    (1e300, "a value of x is no number that float32 holds", "x"),
    (None, "expected 3 numbers", "x"),
    (1.5, "a value of tokens is no number that int64 holds", "tokens"),
    (2.0**60, "no number that int64 holds", "tokens"),
    (float("inf"), "not finite", "tokens"),
]


@pytest.mark.parametrize(("value", "reason", "name"), NUMBERS)
@pytest.mark.parametrize("whole", [False, True])
def test_a_number_that_the_input_does_not_hold(
    model: fastgru.Model, tmp_path: Path, value: Any, reason: str, name: str, whole: bool
) -> None:
    """Of a row that is a step, and of one that is a sequence: a fault of it, and no other number in its place."""
    net = model if name == "x" else fastgru.load(fastgru.demo_path())
    good: list[Any] = [[0.5, 1.0, 2.0]] * 3 if name == "x" else [1.0, 2.0, 3.0]
    bad: list[Any] = [[0.5, value, 2.0], good[1], good[2]] if name == "x" else [value, 2.0, 3.0]
    rows = {"id": ["a", "b"], name: [good, bad]} if whole else {"id": [*"aaabbb"], name: [*good, *bad]}
    done = score(
        net, write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", ids=["id"], on_error="null",
        outputs=[net.outputs[0].name], rows="sequences" if whole else "steps",
    )  # fmt: skip
    (fault,) = done.faults
    assert fault.id == ["b"]
    assert fault.row == (1 if whole else 3)
    assert reason in fault.reason or (value is None and "expected numbers" in fault.reason)


def test_whole_numbers_are_taken_whatever_they_are_written_as(tmp_path: Path) -> None:
    net = fastgru.load(fastgru.demo_path())
    (right,) = ([logits for logits, _ in net.predict([np.array([1, 2, 3])])],)
    for k, tokens in enumerate(([1, 2, 3], [1.0, 2.0, 3.0], ["1", "2", "3"])):
        source = write(tmp_path / f"in{k}.parquet", {"id": [0, 0, 0], "tokens": tokens})
        score(net, source, tmp_path / f"out{k}.parquet", ids=["id"], outputs=["logits"])
        found = np.array(read(tmp_path / f"out{k}.parquet")["logits"], np.float32)
        np.testing.assert_array_equal(found, right[0])


def test_an_output_that_is_not_finite_is_null_in_json(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    save_onnx(tmp_path / "m.onnx", torch_gru(rng, 3, 8, ""), (np.full((2, 8), 3e38, np.float32), draw(rng, 2)))
    source = write(tmp_path / "in.parquet", steps(*make([4])))
    score(fastgru.load(tmp_path / "m.onnx"), source, tmp_path / "out.jsonl", ids=["id"], outputs=["y"])
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert any(None in json.loads(line, parse_constant=pytest.fail)["y"] for line in lines)


def test_a_name_that_an_output_has_is_none_for_an_id(model: fastgru.Model, tmp_path: Path) -> None:
    table = steps(*make([2]))
    table["y"] = table.pop("id")
    refused(model, tmp_path, "y: a column of --id and an output have the same name", table, ids=["y"])


@pytest.mark.parametrize("target", ["jsonl", "parquet"])
def test_no_row_at_all(model: fastgru.Model, tmp_path: Path, target: str) -> None:
    source = write(tmp_path / "in.parquet", {name: [] for name in ("id", "a", "b", "c")})
    done = score(model, source, tmp_path / f"out.{target}", ids=["id"])
    assert (done.rows, done.sequences) == (0, 0)
    assert not any(read(tmp_path / f"out.{target}").values())


def test_a_model_whose_rows_run_apart_has_a_row_a_step_too(tmp_path: Path) -> None:
    """A mean over the states of all rows is one over the row alone, where each sequence runs by itself."""
    rng = np.random.default_rng(0)
    save_onnx(tmp_path / "plain.onnx", torch_gru(rng, 3, 8, ""), (draw(rng, 2, 8), draw(rng, 2)), state=False)
    proto = onnx.load(tmp_path / "plain.onnx")
    proto.graph.node[-1].output[0] = "before"
    proto.graph.node.append(helper.make_node("ReduceMean", ["before"], ["mean"], axes=[1]))
    proto.graph.node.append(helper.make_node("Add", ["before", "mean"], ["y"]))
    onnx.save(proto, tmp_path / "m.onnx")
    net, (names, sequences) = fastgru.load(tmp_path / "m.onnx"), make([3, 4])
    assert net.predictor.layout.apart
    source = write(tmp_path / "in.parquet", steps(names, sequences))
    score(net, source, tmp_path / "out.parquet", ids=["id"])
    found = read(tmp_path / "out.parquet")
    assert found["id"] == steps(names, sequences)["id"]
    plain = fastgru.load(tmp_path / "plain.onnx")
    right = 2 * np.concatenate([plain(s[:, None])[:, 0] for s in sequences])
    np.testing.assert_array_equal(np.array(found["y"], np.float32), right)


IDS = [
    ("uint64", [2**64 - 1, 2**64 - 1, 7]),
    ("timestamp[us]", [5, 5, 6]),
    ("timestamp[ns]", [5, 5, 6]),
    ("binary", [b"a", b"a", b"\xff"]),
    ("decimal128(5, 2)", [1, 1, 2]),
    ("bool", [True, True, False]),
    ("int8", [1, 1, None]),
]


@pytest.mark.parametrize("target", ["parquet", "jsonl"])
@pytest.mark.parametrize(("kind", "values"), IDS)
def test_ids_keep_their_type(model: fastgru.Model, tmp_path: Path, kind: str, values: list[Any], target: str) -> None:
    kinds = (
        pa.uint64(),
        pa.timestamp("us"),
        pa.timestamp("ns"),
        pa.binary(),
        pa.decimal128(5, 2),
        pa.bool_(),
        pa.int8(),
    )
    (wanted,) = (each for each in kinds if str(each) == kind)
    table = pa.table({"id": pa.array(values, wanted), **{c: [1.0, 2.0, 3.0] for c in "abc"}})
    pq.write_table(table, tmp_path / "in.parquet")
    out = tmp_path / f"out.{target}"
    done = score(
        model, tmp_path / "in.parquet", out, ids=["id"], outputs=["y"], on_error="null", part_rows=1
    )  # fmt: skip
    assert done.sequences == 2
    if target == "parquet":
        assert pq.read_table(out)["id"].equals(pq.read_table(tmp_path / "in.parquet")["id"])
    else:
        first, second, third = read(out)["id"]
        assert first == second != third


def test_files_whose_ids_are_of_other_types(model: fastgru.Model, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for k, kind in enumerate((pa.int32(), pa.int64())):
        table = pa.table({"id": pa.array([k, k], kind), **{c: [1.0, 2.0] for c in "abc"}})
        pq.write_table(table, folder / f"{k}.parquet")
    (folder / ".hidden.csv").write_text("junk")
    score(model, folder, tmp_path / "out.parquet", ids=["id"], outputs=["y"])
    assert pq.read_schema(tmp_path / "out.parquet").field("id").type == pa.int64()
    pq.write_table(pa.table({"id": ["x"], **{c: [1.0] for c in "abc"}}), folder / "2.parquet")
    with pytest.raises(DataError, match="a column of --id has different types in the files"):
        score(model, folder, tmp_path / "other.parquet", ids=["id"])


LINES = [
    ("[1]", "expected an object"),
    ('{"id": 1, "a": 1, "a": 2, "b": 1, "c": 1}', "a name occurs twice"),
    ('{"id": 1, "a": ' + "[" * 100_000 + "]" * 100_000 + "}", "no JSON"),
    ('{"id": 1, "a": ' + "9" * 5_000 + "}", "no JSON"),
]


@pytest.mark.parametrize(("line", "reason"), LINES)
def test_no_line_of_json_is_dropped(
    model: fastgru.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, reason: str
) -> None:
    """Also where a whole batch has no good line, before which the rows of a good one stand."""
    monkeypatch.setattr("fastgru.scoring.sources.BATCH_ROWS", 2)
    good = '{"id": 0, "a": 1, "b": 2, "c": 3}'
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join([good, good, line, line, '{"id": 5, "a": 1, "b": 2, "c": 3}']) + "\n")
    done = score(model, source, tmp_path / "out.jsonl", ids=["id"], outputs=["y"], on_error="null")
    assert (done.rows, [fault.row for fault in done.faults]) == (5, [2, 3])
    assert all(reason in fault.reason for fault in done.faults)
    source.write_text(f"{line}\n{line}\n")
    with pytest.raises(DataError, match=r"in\.jsonl: no line holds an object with names; row 0: no JSON"):
        score(model, source, tmp_path / "other.jsonl", ids=["id"])


LIST = [[1, 2, 3], [4, 5, 6]]
BLANK = {"id": 0, "x": None}
BATCHES = [  # of two rows each: the rows, whether they have an id, the number of sequences, and the faulty rows
    ([{"x": LIST}] * 2 + [{"x": None}] * 2 + [{"x": LIST}], False, 5, [2, 3]),
    ([{"x": None}] * 3 + [{"x": LIST}], False, 4, [0, 1, 2]),
    ([{"x": None}] * 3, False, 3, [0, 1, 2]),
    ([{"x": LIST}] * 2 + [{"x": 1}, {"x": [1]}], False, 4, [2, 3]),
    ([{"x": LIST}] * 2 + [{"x": 1}, {"x": 2}], False, 4, [2, 3]),
    ([BLANK] * 2 + [{"id": 1, "x": [1, 2, 3]}] * 2, True, 2, [0]),
    ([{"id": 1, "x": [1, 2, 3]}] * 2 + [BLANK] * 2, True, 2, [2]),
    ([{"id": 1, "x": [1, 2, 3]}] * 2 + [{"id": 0, "x": 1}] + [{"id": 2, "x": [1, 2, 3]}], True, 3, [2]),
    ([{"id": 0, "x": None}] * 4, True, 1, [0]),
]


@pytest.mark.parametrize(("rows", "has_ids", "sequences", "faults"), BATCHES)
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_batch_without_values_is_read_as_the_others(
    model: fastgru.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, Any]], has_ids: bool, sequences: int, faults: list[int], suffix: str,
) -> None:  # fmt: skip
    """The first values tell whether rows are steps or sequences."""
    monkeypatch.setattr("fastgru.scoring.sources.BATCH_ROWS", 2)
    source, names = tmp_path / f"in.{suffix}", ["id", "x"] if has_ids else ["x"]
    if suffix == "jsonl":
        source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        small_blocks(monkeypatch)
        lines = [",".join(f'"{row[name]}"' if row[name] is not None else '""' for name in names) for row in rows]
        source.write_text("\n".join([",".join(names), *lines]) + "\n")
    asked: dict[str, Any] = {"ids": ["id"] if has_ids else [], "outputs": ["y"], "on_error": "null"}
    done = score(model, source, tmp_path / "out.jsonl", **asked)
    assert (done.rows, done.sequences, [fault.row for fault in done.faults]) == (len(rows), sequences, faults)


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import csv

    options = csv.ReadOptions
    monkeypatch.setattr(csv, "ReadOptions", lambda **given: options(block_size=48, **given))


def test_a_list_among_numbers_is_a_fault_of_its_row(model: fastgru.Model, tmp_path: Path) -> None:
    rows = [*["s0,1,2,3"] * 2, *['s1,1,"[2, 3]",3'] * 2, "s2,1,2,3"]
    (tmp_path / "in.csv").write_text("\n".join(["id,a,b,c", *rows]))
    asked: dict[str, Any] = {"ids": ["id"], "outputs": ["y"], "on_error": "null", "rows": "steps"}
    done = score(model, tmp_path / "in.csv", tmp_path / "out.jsonl", **asked)
    assert [(fault.row, fault.reason) for fault in done.faults] == [(2, "b: expected a number, got '[2, 3]'")]


def test_steps_of_two_shapes_in_two_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgru.scoring.sources.BATCH_ROWS", 2)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"id": 0, "x": {x}}}\n' for x in ("[1, 2]", "[3, 4]", "[5]")))
    entry = Input("x", "float32", (None,), ("x",))
    (found,) = records([tmp_path / "in.jsonl"], [entry], ["id"], frames=None, skip=0, seen=set())
    assert found.fault == "its steps have different shapes: (2,) and (1,)"


def test_a_run_goes_on_with_rows_of_the_same_kind(
    model: fastgru.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastgru.scoring.sources.BATCH_ROWS", 2)
    rows = [{"x": LIST}] * 4 + [{"x": None}] * 4
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    written, asked = Parts.write, {"outputs": ["y"], "on_error": "null", "part_rows": 4}

    def stop(self: Parts, *given: Any) -> None:
        written(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Parts, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        score(model, tmp_path / "in.jsonl", tmp_path / "out.jsonl", **asked)  # type: ignore[arg-type]
    monkeypatch.setattr(Parts, "write", written)
    done = score(model, tmp_path / "in.jsonl", tmp_path / "out.jsonl", **asked)  # type: ignore[arg-type]
    assert (done.resumed, done.sequences, [fault.row for fault in done.faults]) == (4, 8, [4, 5, 6, 7])


def test_an_id_is_one_id_whatever_stands_beside_it(
    model: fastgru.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sequence goes on behind the end of a batch, where another id in the second batch is a text."""
    monkeypatch.setattr("fastgru.scoring.sources.BATCH_ROWS", 2)
    source, ids = tmp_path / "in.jsonl", [1, 2, 2, "x", "2", 10**30]
    source.write_text("".join(json.dumps({"id": i, "a": 1, "b": "2", "c": 3}) + "\n" for i in ids))
    done = score(model, source, tmp_path / "out.jsonl", ids=["id"], outputs=["y"], part_rows=1)
    assert done.sequences == 5
    assert read(tmp_path / "out.jsonl")["id"] == ids
    score(model, source, tmp_path / "out.parquet", ids=["id"], outputs=["y"], part_rows=1)
    assert [str(name).lstrip() for name in read(tmp_path / "out.parquet")["id"]] == [str(i) for i in ids]


def test_texts_and_numbers_in_one_column(model: fastgru.Model, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"id": 1, "a": a, "b": 2, "c": 3}) + "\n" for a in (1, "1.5", True)))
    score(model, source, tmp_path / "out.jsonl", ids=["id"], outputs=["y"])
    x = np.array([[1, 2, 3], [1.5, 2, 3], [1, 2, 3]], np.float32)
    np.testing.assert_array_equal(np.array(read(tmp_path / "out.jsonl")["y"], np.float32), expected(model, [x]))


def test_decimals_are_numbers(model: fastgru.Model, tmp_path: Path) -> None:
    columns = {c: pa.array([1, 2], pa.decimal128(5, 2)) for c in "abc"}
    pq.write_table(pa.table({"id": ["s", "s"], **columns}), tmp_path / "in.parquet")
    score(model, tmp_path / "in.parquet", tmp_path / "out.jsonl", ids=["id"], outputs=["y"])
    x = np.array([[1, 1, 1], [2, 2, 2]], np.float32)
    np.testing.assert_array_equal(np.array(read(tmp_path / "out.jsonl")["y"], np.float32), expected(model, [x]))


def test_a_column_that_is_there_twice(model: fastgru.Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,a,a,b,c\ns,1,1,2,3\n")
    with pytest.raises(DataError, match="several columns with the name a"):
        score(model, tmp_path / "in.csv", tmp_path / "out.jsonl", ids=["id"])


def test_an_output_that_would_be_the_input(model: fastgru.Model, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", steps(*make([3])))
    before = source.read_bytes()
    for path, output in ((source, source), (tmp_path, tmp_path / "out.parquet")):
        with pytest.raises(DataError, match="the output would be the input, or lie in its folder"):
            score(model, path, output, ids=["id"], restart=True)
    with pytest.raises(DataError, match="there is no folder"):
        score(model, source, tmp_path / "none" / "out.parquet", ids=["id"])
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]
