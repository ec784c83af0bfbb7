"""From a result to JSON and back, to the terminal, to a page, to the README."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bench_tools import timing
from rich.console import Console

from fastgru.bench.cases import Case
from fastgru.bench.measure import Ratio
from fastgru.bench.page import render_page
from fastgru.bench.readme import BEGIN, END, main, section, update
from fastgru.bench.report import print_report
from fastgru.bench.result import Result, Row
from fastgru.bench.svg import Bar, Series, bar_chart, line_chart
from fastgru.bench.words import ratio_of, time_of
from fastgru.errors import InvalidModelError


def test_json_keeps_everything(result: Result) -> None:
    assert Result.from_json(result.to_json()) == result


def test_json_carries_the_derived_figures_too(result: Result) -> None:
    rows = json.loads(result.to_json())["rows"]
    assert rows[0]["ratio"] == pytest.approx(5.0)
    assert rows[0]["share"] == pytest.approx(0.5)
    assert rows[0]["best_rival"] == "onnxruntime"
    assert rows[2]["faults"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "rows": 3}', "nul", "[" * 100_000])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(InvalidModelError, match="bench result"):
        Result.from_json(text)


def test_goals_are_judged(result: Result) -> None:
    met, _, missed, *_, block, refused = result.rows
    assert not met.faults
    assert missed.faults == ["0.50x onnxruntime, the goal is 2x"]
    assert not block.faults
    assert refused.faults == ["refused: 2 threads & more"]


@pytest.mark.parametrize(("median", "missed"), [(0.98, False), (0.9, True), (1.5, False)])
def test_no_slower_than_on_one_thread_is_judged_with_room_for_noise(
    result: Result, median: float, missed: bool
) -> None:
    case = Case("step", 1, 1, 16, 16, own_goals={2: 1.0})
    row = replace(result.rows[0], threads=2, case=case, own_ratio=Ratio(median, median, median))
    assert bool(row.faults) == missed


def test_the_terminal_shows_every_case(result: Result) -> None:
    out = io.StringIO()
    print_report(result, Console(file=out, width=200))
    text = out.getvalue()
    for row in result.rows:
        assert row.title in text
    for words in ("5.00x", "torch: not installed", "the goal is 2x", "105 ns", "50 % L2", "10 pushes", "1.01x"):
        assert words in text


def test_rows_below_float32_show_errors_and_count_rivals_in_float32_only(result: Result) -> None:
    case = Case("step", 1, 1, 64, 64, precision="int8", goals={1: 1.2}, goal_rival="fastgru bfloat16")
    names = ("onnxruntime", "fastgru float32", "fastgru bfloat16", "torch int8")
    ratios = {name: Ratio(r, r, r) for name, r in zip(names, (3.0, 0.9, 1.1, 0.5), strict=True)}
    errors = {"fastgru": 1.234e-2, **dict.fromkeys(names, 2e-7)}
    row = Row(
        case.title, case.slug, 1, case, timing("fastgru", 1e-6), {n: timing(n, 1e-6) for n in names}, ratios,
        errors=errors,
    )  # fmt: skip
    assert row.best_rival == "onnxruntime"
    assert row.faults == [
        "1.10x fastgru bfloat16, the goal is 1.2x", "0.90x our own float32: slower than it"
    ]  # fmt: skip
    shown = replace(result, rows=(row,))
    assert Result.from_json(shown.to_json()) == shown
    out = io.StringIO()
    print_report(shown, Console(file=out, width=250))
    for text in (out.getvalue(), "".join(page_tree(shown).itertext())):
        assert "1e-02" in text
        assert "2e-07" in text
    assert "| step N=1 H=64, int8 | 1 us | 1e-02 |" in section(shown)


def page_tree(result: Result) -> ET.Element:
    page = render_page(result)
    assert page.startswith("<!doctype html>\n")
    return ET.fromstring(page.partition("\n")[2])


def test_the_page_is_well_formed_and_shows_every_case(result: Result) -> None:
    tree = page_tree(result)
    text = "".join(tree.itertext())
    for row in result.rows:
        assert row.title in text
    assert result.machine["cpu"] in text
    assert len(tree.findall(".//{http://www.w3.org/2000/svg}svg")) == 3


def test_the_page_loads_nothing_and_fits_light_and_dark(result: Result) -> None:
    tree, page = page_tree(result), render_page(result)
    assert "prefers-color-scheme: dark" in page
    for element in tree.iter():
        assert not {"src", "href"} & set(element.attrib)
        assert element.tag.rpartition("}")[2] not in ("script", "link", "img", "iframe")
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "url(" not in page
    assert "@import" not in page
    assert set(re.findall(r"var\(--(\w+)\)", page)) <= set(re.findall(r"--(\w+): #", page))


def test_a_page_of_nothing_is_still_a_page(result: Result) -> None:
    empty = Result("steady", result.machine, (), (), 0.0)
    assert "fastgru bench" in "".join(page_tree(empty).itertext())


def test_lines_lie_within_their_plot() -> None:
    series = [Series("a <b>", 0, ((16.0, 1e-6), (1024.0, 4e-4))), Series("c", 1, ((16.0, 3e-6),), dashed=True)]
    tree = ET.fromstring(line_chart(series, title='"t"', x_label="H", y_label="s", y_words=time_of))
    (line, _) = tree.findall("{http://www.w3.org/2000/svg}polyline")
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in line.attrib["points"].split())
    assert 0 < x0 < x1 < 720
    assert 400 > y0 > y1 > 0
    assert "a <b>" in "".join(tree.itertext())
    assert line_chart([], title="", x_label="", y_label="") == ""


def test_bars_are_as_long_as_their_values() -> None:
    tree = ET.fromstring(bar_chart([Bar("a", 0.25, "x"), Bar("b", 0.5, "y")], title="t", marks=(1.0,)))
    a, b = (float(r.attrib["width"]) for r in tree.findall("{http://www.w3.org/2000/svg}rect"))
    assert b == pytest.approx(2 * a, abs=0.2)


def test_the_readme_is_replaced_between_its_comments_only(result: Result) -> None:
    text = f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n"
    new = update(text, result)
    assert new.startswith(f"# Title\n\n{BEGIN}\n")
    assert new.endswith(f"{END}\n\nafter\n")
    assert "old" not in new
    assert "| step N=1 H=16 | 1 us | **5.00x** | 50 % L2 |" in new
    assert update(new, result) == new


def test_readme_tables_have_as_many_cells_as_heads(result: Result) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", section(result), re.MULTILINE)
    assert len(tables) >= 2
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_readme_without_the_comments_is_left_alone(result: Result, text: str) -> None:
    with pytest.raises(InvalidModelError, match="bench: begin"):
        update(text, result)


def test_the_module_rewrites_a_file(result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "r.json", tmp_path / "README.md"
    source.write_text(result.to_json())
    target.write_text(f"{BEGIN}\n{END}\n")
    assert main([str(source), str(target)]) == 0
    assert "step N=1 H=16" in target.read_text()
    source.write_text("{}")
    assert main([str(source), str(target)]) == 2
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1.5, "1.5 s"),
        (0.0123, "12.3 ms"),
        (1.234e-5, "12.3 us"),
        (1e-6, "1 us"),
        (2.5e-7, "250 ns"),
        (0.9999, "1000 ms"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert time_of(seconds) == words


def test_ratios_in_words() -> None:
    assert [ratio_of(r) for r in (None, 1.234, 12.34, 123.4)] == ["-", "1.23x", "12.3x", "123x"]
