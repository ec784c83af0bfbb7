"""Run the commands that the README shows, and put what they print below them.

    python tools/update_readme.py            # rewrite README.md
    python tools/update_readme.py --check    # exit status 1 where what does not depend on the machine is out of date

In a block of the kind `console`, a line that begins with `$` is a command and the lines below it are its output. Only
commands of `fastgru` are run, in a folder with the files of tests/readme_files.py, each twice, so that nothing is
compiled in the second run, which is the one that is shown. The section on speed is not touched: `fastgru bench
--update-readme README.md` writes that.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_LAYOUT = re.compile(r"[─━]+|\s+")
_MACHINE = re.compile(r"\d[\d.,]*(?:e[+-]\d+)?|[▁▂▃▄▅▆▇█]+")


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind ("python"), its text, the line of the README on which the text begins."""

    kind: str
    body: str
    line: int


def blocks(text: str) -> list[Block]:
    """Every fenced block, in order."""
    return [
        Block(match["kind"], match["body"], text.count("\n", 0, match.start("body")) + 1)
        for match in _FENCE.finditer(text)
    ]


def commands(body: str) -> list[tuple[str, str]]:
    """(command, output) of a block of the kind `console`."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def run(command: str, folder: Path) -> str:
    """What a command of `fastgru` prints on standard output, without blank lines around and blanks at line ends."""
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FASTGRU_ISA")}
    words = shlex.split(command)
    assert words[0] == "fastgru", command
    result = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**environment, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=600,
    )
    return "\n".join(line.rstrip() for line in result.stdout.splitlines()).strip("\n")


def same_everywhere(command: str, output: str) -> str:
    """The part of an output that another machine prints, too: no times and errors, no text that the model writes."""
    what = command.split()[1]
    if what == "demo":
        output = "\n".join(output.splitlines()[:2])
    elif what == "verify":
        output = _MACHINE.sub(" ", output)
    return _LAYOUT.sub(" ", output).strip()


def updated(text: str, folder: Path) -> str:
    """`text` with every output as it is now."""

    def replace(match: re.Match[str]) -> str:
        if match["kind"] != "console":
            return match[0]
        lines = []
        for command, output in commands(match["body"]):
            if command.split()[0] == "fastgru":
                run(command, folder)
                output = run(command, folder)
            lines += [f"$ {command}", *([output] if output else [])]
        return "```console\n" + "\n".join(lines) + "\n```"

    return _FENCE.sub(replace, text)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python tools/update_readme.py [--check]", file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT / "tests"))
    from readme_files import make_readme_files

    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        make_readme_files(Path(name))
        new = updated(text, Path(name))
    if not arguments:
        README.write_text(new, encoding="utf-8")
        return 0
    stale = 0
    for before, after in zip(blocks(text), blocks(new), strict=True):
        for (command, old), (_, now) in zip(commands(before.body), commands(after.body), strict=True):
            if before.kind == "console" and same_everywhere(command, old) != same_everywhere(command, now):
                print(f"README.md:{before.line}: {command}: out of date")
                stale += 1
    return int(stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
