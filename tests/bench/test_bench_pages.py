"""What the documents say about speed, from results of the bench: tables between comments, and the README's plot."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pages import load_tool

from fastgru.bench.measure import Ratio
from fastgru.bench.result import Result
from fastgru.errors import InvalidModelError

pytest.importorskip("matplotlib")
PAGES = Path(__file__).parent.parent.parent / "docs" / "pages"
tool = load_tool("bench_pages")
EMPTY = "".join(f"before\n{tool.begin(name)}\nold\n{tool.end(name)}\nafter\n" for name in tool.SECTIONS)


@pytest.fixture
def measured(result: Result) -> Result:
    """Only rows that ran."""
    rows = [row for row in result.rows if row.ours is not None]
    two = replace(rows[1], threads=2, own_ratio=Ratio(1.9, 1.8, 2.0))
    return replace(result, rows=(*rows, two))


def test_sections_are_replaced_and_nothing_else(measured: Result) -> None:
    new = tool.update(EMPTY, measured)
    assert "old" not in new
    assert new.count("before\n") == new.count("after\n") == len(tool.SECTIONS)
    assert "| step N=1 H=16 | 1 \N{MICRO SIGN}s | **5.00x** | 50 % L2 |" in new
    assert "`fastgru bench --suite full --threads 1`" in new
    assert "| speed-up over one thread | 1.9x |" in new
    assert tool.update(new, measured) == new


def test_a_row_that_was_not_timed_is_named_with_the_reason(measured: Result) -> None:
    failed = replace(measured.rows[0], threads=2, ours=None, trouble="refused: it takes 30 us")
    new = tool.update(EMPTY, replace(measured, rows=(*measured.rows, failed)))
    assert f"Not measured on 2 threads:\n\n- {failed.title}: refused: it takes 30 \N{MICRO SIGN}s.\n" in new
    assert "Not measured on 1 thread:" not in new
    (line,) = re.findall("The results have no row on .*", new)
    others = [row.title for row in measured.rows if row.case and row.slug not in (failed.slug, measured.rows[1].slug)]
    assert line == f"The results have no row on 2 threads for: {'; '.join(others)}."


def test_tables_have_as_many_cells_as_heads(measured: Result) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", tool.update(EMPTY, measured), re.MULTILINE)
    assert len(tables) >= 4
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize("text", ["", "".join(reversed(EMPTY.splitlines(keepends=True))), EMPTY + EMPTY])
def test_a_page_without_the_comments_is_left_alone(measured: Result, text: str) -> None:
    with pytest.raises(InvalidModelError, match="bench: summary"):
        tool.update(text, measured)


def test_parts_of_a_suite_become_one_in_its_order(measured: Result) -> None:
    first, *others = measured.rows
    parts = [replace(measured, rows=tuple(others)), replace(measured, rows=(first,)), replace(measured, rows=(first,))]
    assert [row.slug for row in tool.merged(parts).rows][:3] == ["step-h16", "step-h64", "step-h256"]
    elsewhere = replace(measured, machine={**measured.machine, "cpu": "another"})
    with pytest.raises(InvalidModelError, match="cpu is 'another'"):
        tool.merged([measured, elsewhere])


@pytest.mark.parametrize("name", tool.PLOTS)
def test_the_plot_is_a_small_file_of_its_own(measured: Result, name: str) -> None:
    text = tool.plot(measured, tool.PLOTS[name])
    tree = ET.fromstring(text)
    assert tree.attrib["width"] == "640"
    assert "ONNX Runtime" in "".join(tree.itertext())
    assert "var(" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_page_has_what_the_tool_writes() -> None:
    text = (PAGES / "performance.md").read_text(encoding="utf-8")
    for name in tool.SECTIONS:
        assert text.count(tool.begin(name)) == text.count(tool.end(name)) == 1
    for name in tool.PLOTS:
        assert name in text
        plot = (PAGES / name).read_text(encoding="utf-8")
        assert len(plot) < 30_000
        ET.fromstring(plot)


def test_from_the_command_line(measured: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, page = tmp_path / "r.json", tmp_path / "performance.md"
    source.write_text(measured.to_json(), encoding="utf-8")
    page.write_text(EMPTY, encoding="utf-8")
    assert tool.main([str(source)], tmp_path) == 0
    assert "step N=1 H=16" in page.read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.glob("*.svg")} == set(tool.PLOTS)
    source.write_text("{}", encoding="utf-8")
    assert tool.main([str(source)], tmp_path) == 2
    assert tool.main([]) == 2
    assert "usage" in capsys.readouterr().err
