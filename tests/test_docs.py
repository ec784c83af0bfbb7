"""docs/: it builds without a warning, its examples run, and nothing public is left out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import defs
from pages import load_tool, run_page
from readme_files import make_readme_files

import fastgru
from fastgru.cli.group import COMMANDS
from fastgru.importers.onnx import NEWEST_OPSET, operators

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs" / "pages"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_readme_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents, built as CI builds them: a warning is a failure."""
    pytest.importorskip("zensical", reason="not installed: the extra `docs`")
    clone = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "docs", clone / "docs", ignore=shutil.ignore_patterns("site", ".cache"))
    for name in ("fastgru", "tools"):
        (clone / name).symlink_to(ROOT / name)
    result = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "-f", "docs/zensical.toml"],
        cwd=clone,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "No issues found" in result.stdout + result.stderr
    return clone / "docs" / "site"


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_a_page_run_and_print_what_they_say(name: str, folder: Path) -> None:
    run_page(PAGES[name], f"docs/{name}", folder)


def test_most_pages_have_examples() -> None:
    tool = load_tool("update_readme")
    with_examples = [name for name, text in PAGES.items() if any(b.kind == "python" for b in tool.blocks(text))]
    assert len(with_examples) >= 12


def test_every_section_on_semantics_shows_what_it_says() -> None:
    sections = re.split(r"^## ", PAGES["semantics.md"], flags=re.MULTILINE)[1:]
    without = {section.splitlines()[0] for section in sections if "```python" not in section}
    assert len(sections) > 20
    assert without == {"Literature"}


def test_the_page_runner_finds_a_wrong_output(folder: Path) -> None:
    assert run_page("```python\nprint(1 + 1)  # 2\n```\n", "page", folder) == 1
    for wrong in ("print(1 + 1)  # 3", "print(1 + 1)", "raise ValueError"):
        with pytest.raises((AssertionError, ValueError)):
            run_page(f"```python\n{wrong}\n```\n", "page", folder)
    with pytest.raises(AssertionError):
        run_page("```python\nprint(1)\n```\n\n```text\n2\n```\n", "page", folder)
    with pytest.raises(AssertionError):
        run_page("```console\n$ fastgru --version\nanother one\n```\n", "page", folder)


def test_every_page_is_in_the_site_and_every_table_is_filled(site: Path) -> None:
    built = {path.parent.name or "index" for path in site.rglob("index.html")}
    for name in PAGES:
        assert name.removesuffix(".md") in built | {"index"}, name
    navigation = (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8")
    assert [name for name in PAGES if f'"{name}"' not in navigation] == []
    html = (site / "operators" / "index.html").read_text(encoding="utf-8")
    (table,) = load_tool("docs_tables").tables(PAGES["operators.md"])[:1]
    rows = re.findall(r"^\| `(\w+)` ", table, re.MULTILINE)
    assert len(rows) > 160
    assert [name for name in rows if f"<code>{name}</code>" not in html] == []


def test_the_tables_tell_what_the_registry_tells() -> None:
    tables = load_tool("docs_tables")
    rows = tables.onnx_operators().splitlines()[2:]
    assert len(rows) == len(operators())
    assert [row for row in rows if row.startswith("| `Loop` | 7 | 1,")]
    assert any(row.startswith("| `GRU` | 7 | 7, 14, 22 |") for row in rows)
    assert "`TimeDistributed`" in tables.keras_layers()
    (written,) = tables.onnx_exports().splitlines()[2:]
    assert "`gru`" in written
    assert "`dft`" not in written
    with pytest.raises(KeyError):
        tables.fill("<!-- table: unknown -->\n<!-- end of table -->")


@pytest.mark.skipif(defs.onnx_opset_version() < NEWEST_OPSET, reason="this onnx knows fewer operators")
def test_what_the_tables_in_the_pages_say_holds() -> None:
    """A table may lack what came since it was filled, so that a new operator is one file; it may say nothing false."""
    tables = load_tool("docs_tables")
    for name, text in PAGES.items():
        for stored, today in zip(tables.tables(text), tables.tables(tables.fill(text)), strict=True):
            rows = {
                row.split("|")[1]: set(re.findall("`[^`]+`", row)) for row in today.splitlines() if row.startswith("|")
            }
            for row in set(stored.splitlines()) - set(today.splitlines()):
                cells = row.split("|")
                listed = len(cells) == 4 and set(re.findall("`[^`]+`", row)) <= rows.get(cells[1], set())
                assert listed, f"{row}\nrun: python tools/update_readme.py docs/pages/{name}"
    assert "| `GRU` |" in PAGES["operators.md"]


def test_every_public_name_is_in_the_api_page(site: Path) -> None:
    named = re.findall(r"^::: fastgru\.([\w.]+)$", PAGES["api.md"], re.MULTILINE)
    assert sorted(set(fastgru.__all__) - {name.split(".")[-1] for name in named}) == []
    assert {f"scoring.{name}" for name in fastgru.scoring.__all__} <= set(named)
    html = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert [name for name in fastgru.__all__ if f'id="fastgru.{name}"' not in html] == []
    # `fastgru.load` is a function, and a module: the generator decides which of them it shows.
    for name in named:
        thing = getattr(fastgru, name.split(".")[-1], None)
        if thing is None:
            continue
        kind = "class" if isinstance(thing, type) else "function"
        heading = re.search(rf'id="fastgru\.{re.escape(name)}" class="doc doc-heading">\s*<span class="([^"]*)"', html)
        assert heading is not None, name
        assert f"doc-{kind}-name" in heading[1], name


def test_paragraphs_of_arguments_become_lists() -> None:
    pytest.importorskip("griffe", reason="not installed: the extra `docs`")
    lists = load_tool("docs_lists")
    assert lists.as_list("x: one,\n    and more\na, b: two") == ("- `x`: one, and more\n- `a`, `b`: two")
    assert lists.as_list("A sentence of words: not a list.") is None


def test_every_error_has_its_section_in_troubleshooting() -> None:
    from fastgru import errors

    headings = set(re.findall(r"^## `(\w+)`", PAGES["troubleshooting.md"], re.MULTILINE))
    assert sorted(set(errors.__all__) - headings) == []


def test_every_path_that_the_pages_name_is_there() -> None:
    """Alone or within a command."""
    named = {
        (name, path)
        for name, page in PAGES.items()
        for code in re.findall(r"`([^`\n]+)`", page)
        for path in re.findall(r"(?<!\S)[\w.]+/[\w./]*(?!\S)", code)
    }
    assert len(named) > 60
    folders = (ROOT, ROOT / "fastgru")
    assert sorted(pair for pair in named if not any((folder / pair[1]).exists() for folder in folders)) == []


def test_every_command_is_described() -> None:
    for name in COMMANDS:
        assert f"fastgru {name}" in PAGES["command-line.md"], name
