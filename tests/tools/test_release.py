"""tools/release: what keeps a tree from being released, and, among the slow tests, a release of one platform."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def release() -> ModuleType:
    loader = SourceFileLoader("release", str(ROOT / "tools" / "release"))
    spec = spec_from_loader("release", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository that may be released."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "fastgru"\nversion = "1.2.3"\n', encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-11-27\n\n- New.\n")
    commit(tmp_path)
    return tmp_path


def commit(tree: Path) -> None:
    names = ["-c", "user.name=tests", "-c", "user.email=tests@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*names, "commit", "--quiet", "--message", "tests: all"]):
        subprocess.run(["git", "-C", str(tree), *words], check=True)


def test_a_tree_may_be_released(release: ModuleType, tree: Path) -> None:
    assert release.faults(tree) == []


@pytest.mark.parametrize(
    ("file", "before", "after", "fault"),
    [
        ("pyproject.toml", "1.2.3", "1.2.3.dev0", "the version 1.2.3.dev0 is none of a release"),
        ("pyproject.toml", "1.2.3", "1.2.4", "there is no section [1.2.4]"),
        ("CHANGELOG.md", " - 2026-11-27", "", "the section [1.2.3] has no date"),
        (
            "CHANGELOG.md",
            "## [Unreleased]\n",
            "## [Unreleased]\n\n- More.\n",
            "[Unreleased] has entries that belong to [1.2.3]",
        ),
    ],
)
def test_what_keeps_a_tree_from_it_is_named(
    release: ModuleType, tree: Path, file: str, before: str, after: str, fault: str
) -> None:
    path = tree / file
    path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    commit(tree)
    assert [fault in found for found in release.faults(tree)].count(True) == 1


def test_a_change_that_is_not_committed_is_named(release: ModuleType, tree: Path) -> None:
    (tree / "new.txt").touch()
    assert "new.txt" in str(release.faults(tree))


def test_wheels_of_other_machines_are_known(release: ModuleType) -> None:
    assert release.runs_here(Path("fastgru-1.2.3-py3-none-any.whl"))
    assert not release.runs_here(Path("fastgru-1.2.3-py3-none-manylinux_2_17_riscv64.whl"))
    here = f"manylinux_2_17_{release.platform.machine()}" if sys.platform == "linux" else ""
    assert release.runs_here(Path(f"fastgru-1.2.3-py3-none-{here}.whl")) == bool(here)


def test_what_a_person_has_to_do_names_the_version(release: ModuleType) -> None:
    told = release.by_hand("1.2.3", Path("out"), "\n### Added\n")
    assert told.count("1.2.3") >= 4
    assert "### Added" in told


@pytest.mark.slow
def test_the_sdist_has_every_tracked_file(release: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("build", reason="not installed: the extra `release`")
    if not (ROOT / ".git").exists():
        pytest.skip("not there: the repository")
    assert release.missing_of_sdist(release.make_sdist(tmp_path)) == []
