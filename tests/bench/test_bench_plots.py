"""The page of a result, and its plots."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree as ET

import pytest

from fastgru.bench.page import render_page
from fastgru.bench.plots import Series, line_chart
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
    assert len(tree.findall(f".//{SVG}svg")) == 2


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
    assert "fastgru bench" in "".join(page_tree(empty).itertext())


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert lines() == lines()


def test_a_line_has_its_name_and_each_mark_its_numbers() -> None:
    tree = ET.fromstring(lines())
    assert tree.attrib["aria-label"] == '"t"'
    assert "a <b>" in "".join(tree.itertext())
    titles = [element.text for element in tree.iter(f"{SVG}title")]
    assert sorted(filter(None, titles)) == ["a <b>, H 1024: 400 us", "a <b>, H 16: 1 us", "c, H 16: 3 us"]
    assert line_chart([], title="", x_label="", y_label="") == ""


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FastGRUError, match=r"pip install 'fastgru\[bench\]'"):
        lines()
