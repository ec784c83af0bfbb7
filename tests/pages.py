"""Pages of Markdown whose blocks are run: Python prints what it says, commands print what stands below them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import re
import shlex
import sys
import textwrap
import warnings
from pathlib import Path
from types import ModuleType

from click.testing import CliRunner

from fastgru.cli import main

__all__ = ["PRINTS", "load_tool", "run_page"]

# A line of Python that prints, and says what, after two blanks.
PRINTS = re.compile(r"^ *print\(.*\)  # (?P<said>.*)$", re.MULTILINE)


def load_tool(name: str) -> ModuleType:
    """A module of tools/, which is no package."""
    path = Path(__file__).parent.parent / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run_page(text: str, name: str, folder: Path) -> int:
    """Run every block of a page in order, in `folder`, which is the current one; how many there were.

    python: run, in one namespace for the page; what it prints is what its comments say, or the block `text` below it.
    One with `<!-- needs: torch -->` above it is passed over where that is not installed, and its warnings are torch's.
    console: each command of fastgru prints what stands below it. sh: each ends well. yaml: a file, which
    the first line names.
    """
    tool = load_tool("update_readme")
    blocks = tool.blocks(text)
    names: dict[str, object] = {"__name__": "page"}
    count = 0
    for block, after in itertools.zip_longest(blocks, blocks[1:]):
        where = f"{name}:{block.line}"
        if block.kind in ("console", "python") and not tool.can_run(block):
            print(f"{where}: not run, without {', '.join(block.needs)}")
        elif block.kind == "python":
            with warnings.catch_warnings():
                if block.needs:
                    warnings.simplefilter("ignore")
                printed = run_python(block.body, block.line, name, names)
            said = [match["said"] for match in PRINTS.finditer(block.body)]
            if after is not None and after.kind == "text":
                assert printed.split() == after.body.split(), (where, printed)
            else:
                assert printed.splitlines() == said, (where, printed)
        elif block.kind == "console":
            for command, output in tool.commands(block.body):
                now = tool.run(command, folder)
                assert tool.same_everywhere(command, output) == tool.same_everywhere(command, now), where
        elif block.kind == "sh":
            for line in block.body.splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["fastgru"]:
                    result = CliRunner().invoke(main, words[1:])
                    assert result.exit_code == 0, (where, line, result.output, result.exception)
        elif block.kind == "yaml":
            tool.write_file(block.body, folder)
        else:
            assert block.kind == "text", f"{where}: a block of the kind {block.kind!r} is not run"
            continue
        count += 1
    return count


def run_python(body: str, line: int, name: str, names: dict[str, object]) -> str:
    """What the block prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (line - 1) + textwrap.dedent(body), name, "exec"), names)
    return printed.getvalue()
