"""Runs the commands that the README and the pages of docs/ show, puts their output below them, and fills the tables.

    python tools/update_readme.py [PAGE]...            # rewrite the pages, by default all of them
    python tools/update_readme.py --check [PAGE]...    # status 1 if a part that is the same everywhere is out of date

In a block of the kind `console`, a line that begins with `$` is a command, and the lines below it are its output. Only
commands of `fastgru` are run. They run in a folder with the files of tests/readme_files.py, the files that the page's
Python has written so far, and the files in blocks of the kind `yaml`. Each command runs twice, so that the second run,
which is the one shown, compiles nothing. The output of tools/bench_pages.py is not changed.
"""

import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").glob("*.md"))]

_FENCE = re.compile(
    r"(?:^<!-- (?:needs: (?P<needs>[^\n]+)|(?P<guide>check|(?:example|server)(?:: [^\n]+)?|file: [^\n]+)) -->\n\n?)?"
    r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_LAYOUT = re.compile(r"[─━]+|\s+")
_MACHINE = re.compile(r"\d[\d.,]*(?:e[+-]\d+)?(?: (?:s|ms|us|ns)\b)?|[▁▂▃▄▅▆▇█]+")


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind ("python"), its text, and the line of the page on which the text begins.

    needs: the packages in the comment above it, `<!-- needs: torch -->`. Without them it is not run.
    """

    kind: str
    body: str
    line: int
    needs: tuple[str, ...] = ()


def blocks(text: str) -> list[Block]:
    """Return every fenced block in order, without those of tests/test_guide.py, tests/test_examples.py and servers."""
    return [
        Block(match["kind"], match["body"], text.count("\n", 0, match.start("body")) + 1, _needs(match))
        for match in _FENCE.finditer(text)
        if not match["guide"]
    ]


def _needs(match: re.Match[str]) -> tuple[str, ...]:
    return tuple(match["needs"].split(", ")) if match["needs"] else ()


def can_run(block: Block) -> bool:
    """Return True if all packages that the block needs are installed."""
    return all(importlib.util.find_spec(name) for name in block.needs)


def commands(body: str) -> list[tuple[str, str]]:
    """Return (command, output) pairs of a block of the kind `console`."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def write_file(body: str, folder: Path) -> None:
    """Write the file of a block of the kind `yaml`. Its first line has the name in a comment."""
    match = re.match(r"# (\S+)\n", body)
    assert match is not None, body
    (folder / match[1]).write_text(body, encoding="utf-8")


def run(command: str, folder: Path) -> str:
    """Return the standard output of a command of `fastgru`, without blank lines around it and spaces at line ends."""
    dropped = ("COLUMNS", "FASTGRU_TARGET", "FASTGRU_TUNE")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    words = shlex.split(command)
    assert words[0] == "fastgru", command
    result = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**environment, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"},
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=600,
    )
    return "\n".join(line.rstrip() for line in result.stdout.splitlines()).strip("\n")


def same_everywhere(command: str, output: str) -> str:
    """Return the part of an output that is the same on every machine: no times, no errors, no text of the model."""
    what = command.split()[1]
    if what == "demo":
        output = "\n".join(output.splitlines()[:2])
    elif what == "bench":
        timed = (line.strip() for line in output.splitlines() if re.search(r"  .*\d (ns|us|ms)\b", line.strip()))
        output = "\n".join(line.split("  ")[0] for line in timed)
    elif what == "score":
        output = re.sub(r", on \S+$", "", output, flags=re.MULTILINE)
    elif what == "verify" or "--profile" in command:
        output = _MACHINE.sub(" ", output)
    return _LAYOUT.sub(" ", output).strip()


def updated(text: str, folder: Path) -> str:
    """Return `text` with current outputs. The page's Python is run, too, because commands read files that it writes."""
    names: dict[str, object] = {"__name__": "page"}

    def replace(match: re.Match[str]) -> str:
        if match["guide"]:
            return match[0]
        if match["kind"] == "yaml":
            write_file(match["body"], folder)
        if match["kind"] == "python" and all(importlib.util.find_spec(name) for name in _needs(match)):
            with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
                exec(textwrap.dedent(match["body"]), names)
        if match["kind"] != "console":
            return match[0]
        lines = []
        for command, output in commands(match["body"]):
            if command.split()[0] == "fastgru":
                before = {*folder.iterdir()}
                run(command, folder)
                for path in {*folder.iterdir()} - before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()  # would be in the way of the second run
                output = run(command, folder)
            lines += [f"$ {command}", *([output] if output else [])]
        return "```console\n" + "\n".join(lines) + "\n```"

    return _FENCE.sub(replace, text)


def main(arguments: list[str]) -> int:
    check = arguments[:1] == ["--check"]
    pages = [Path(name).resolve() for name in arguments[check:]] or PAGES
    if not all(page.is_file() for page in pages):
        print("usage: python tools/update_readme.py [--check] [PAGE]...", file=sys.stderr)
        return 2
    return int(sum([update(page, check=check) for page in pages]) > 0)


def update(page: Path, *, check: bool) -> int:
    """Rewrite the page, or with `check` only report how many of its outputs are out of date."""
    sys.path.insert(0, str(ROOT / "tests"))
    sys.path.insert(0, str(ROOT / "tools"))
    from docs_tables import fill
    from readme_files import make_readme_files

    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        make_readme_files(Path(name))
        new = fill(updated(text, Path(name)))
    if not check:
        page.write_text(new, encoding="utf-8")
        return 0
    stale = int(fill(text) != text)
    if stale:
        print(f"{page.name}: a table is out of date")
    for before, after in zip(blocks(text), blocks(new), strict=True):
        for (command, old), (_, now) in zip(commands(before.body), commands(after.body), strict=True):
            if before.kind == "console" and same_everywhere(command, old) != same_everywhere(command, now):
                print(f"{page.name}:{before.line}: {command}: out of date")
                stale += 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
