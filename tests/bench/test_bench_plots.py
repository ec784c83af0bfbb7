"""The page of a result, and its plots."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from fastgru.bench.html import LIGHT
from fastgru.bench.page import render_page
from fastgru.bench.plots import Bar, Series, bar_chart, line_chart, mark_chart, standalone
from fastgru.bench.result import Result
from fastgru.errors import FastGRUError
from fastgru.terminal import time_of

pytest.importorskip("matplotlib")
SVG = "{http://www.w3.org/2000/svg}"
SERIES = [Series("a <b>", 0, ((16.0, 1e-6), (1024.0, 4e-4))), Series("c", 1, ((16.0, 3e-6),), dashed=True)]


def lines() -> str:
    return line_chart(SERIES, title='"t"', x_label="H", y_label="s", y_words=time_of)


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
    assert len(tree.findall(f".//{SVG}svg")) == 3


def test_the_page_loads_nothing_and_fits_light_and_dark(result: Result) -> None:
    tree, page = page_tree(result), render_page(result)
    assert "prefers-color-scheme: dark" in page
    for element in tree.iter():
        assert "src" not in element.attrib
        assert element.attrib.get("href", "#").startswith("#")
        assert element.tag.rpartition("}")[2] not in ("script", "link", "img", "iframe")
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert page.count("url(") == page.count("url(#")
    assert "@import" not in page
    assert "#0000" not in page, "a colour that does not change with the page"
    assert set(re.findall(r"var\(--(\w+)\)", page)) <= set(re.findall(r"--(\w+): #", page))


def test_a_page_of_nothing_is_still_a_page(result: Result) -> None:
    empty = Result("steady", result.machine, (), (), 0.0)
    assert "steady" in "".join(page_tree(empty).itertext())


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert lines() == lines()


def test_a_line_has_its_name_and_each_mark_its_numbers() -> None:
    tree = ET.fromstring(lines())
    assert tree.attrib["aria-label"] == '"t"'
    assert "a <b>" in "".join(tree.itertext())
    titles = [element.text for element in tree.iter(f"{SVG}title")]
    assert sorted(filter(None, titles)) == ["a <b>, H 1024: 400 us", "a <b>, H 16: 1 us", "c, H 16: 3 us"]
    assert line_chart([], title="", x_label="", y_label="") == ""


def test_a_mark_of_each_value_stands_on_the_line_of_its_row() -> None:
    rows = [("one & two", {"a": 2.0, "b": 8.0}), ("three", {"b": 0.5})]
    tree = ET.fromstring(mark_chart(rows, {"a": 1, "b": 2}, title="t", x_label="x", x_words="{:g}x".format))
    titles = {element.text for element in tree.iter(f"{SVG}title")}
    assert {"a, one & two: 2x", "b, one & two: 8x", "b, three: 0.5x"} <= titles
    assert "one & two" in "".join(tree.itertext())
    assert mark_chart([("none", {})], {}, title="", x_label="", x_words=str) == ""


def test_bars_are_as_long_as_their_values() -> None:
    bars = [Bar("a", 0.25, "x", 0, (0.2, 0.3)), Bar("b", 0.5, "y & z", 1)]
    tree = ET.fromstring(bar_chart(bars, title="t", x_label="s", x_words=str))
    drawn = {
        g.findtext(f"{SVG}title"): g.find(f"{SVG}path")
        for g in tree.iter(f"{SVG}g")
        if g.find(f"{SVG}title") is not None
    }
    ends = {}
    for title, path in drawn.items():
        assert path is not None
        numbers = [float(word) for word in re.findall(r"[\d.]+", path.attrib["d"])]
        ends[title] = max(numbers[::2]) - min(numbers[::2])
    assert ends["b: y & z"] == pytest.approx(2 * ends["a: x"], rel=1e-2)
    assert bar_chart([], title="", x_label="", x_words=str) == ""


def test_a_file_of_its_own_has_the_colours_of_one_theme() -> None:
    text = standalone(lines(), LIGHT, 640)
    tree = ET.fromstring(text)
    assert tree.attrib["width"] == "640"
    assert "var(" not in text
    assert LIGHT["s0"] in text


def test_a_model_has_a_plot_of_its_call_and_a_suite_of_its_rivals(result: Result) -> None:
    (first, *_) = result.rows
    model = replace(first, case=None, slug="m.onnx", title="m.onnx, a push", bound=None)
    page = render_page(replace(result, suite="m.onnx", rows=(model,), peaks=(), steady=None))
    assert "m.onnx: fastgru beside ONNX Runtime" in page
    assert page.count("<svg") == 1
    assert "ONNX Runtime: 5 \N{MICRO SIGN}s" in page


def test_tables_of_narrow_screens_name_every_figure(result: Result) -> None:
    cells = page_tree(result).findall(".//table[@class='numbers']/tbody/tr/td")
    assert cells
    assert all("data-head" in cell.attrib for cell in cells)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FastGRUError, match=r"pip install 'fastgru\[bench\]'"):
        lines()
