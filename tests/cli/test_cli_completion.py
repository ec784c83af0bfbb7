"""Completion with the Tab key, in real shells: the lines of the page are typed, then the beginnings of words."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from users import child

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")

ROOT = Path(__file__).parents[2]
SHELLS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
}


def line_for(shell: str) -> str:
    """What the page says to add to the startup file."""
    page = (ROOT / "docs" / "pages" / "command-line.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^(.*_FASTGRU_COMPLETE={shell}_source.*?) +#", page, re.MULTILINE)
    return str(line)


class Terminal:
    """A shell in a pseudo-terminal of 80 columns."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.seen = descriptor, ""

    def type(self, text: str) -> None:
        self.seen = ""
        os.write(self.descriptor, text.encode())

    def wait(self, wanted: str, seconds: float = 60) -> str:
        """What has come since the last typing, when it has this in it."""
        end = time.monotonic() + seconds
        while re.search(wanted, self.seen) is None:
            ready, _, _ = select.select([self.descriptor], [], [], max(0.0, end - time.monotonic()))
            assert ready, (wanted, self.seen)
            self.seen += re.sub(r"\x1b[\[(][0-9;?>=]*[A-Za-z]", "", os.read(self.descriptor, 65536).decode())
            if "\x1b[c" in self.seen:
                os.write(self.descriptor, b"\x1b[?1;2c")
        return self.seen


def installed(folder: Path) -> dict[str, str]:
    """The environment of a shell that finds the command and two files in the folder."""
    program = folder / "bin" / "fastgru"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom fastgru.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    (folder / "speech-model.onnx").write_bytes(b"")
    (folder / "speech-notes.txt").write_bytes(b"")
    return {
        **os.environ,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "HOME": str(folder),
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key_completes_commands_options_and_files(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"not installed: {shell}")
    import pty
    import termios

    environment = {**installed(tmp_path), "TERM": "dumb" if shell == "bash" else "xterm", "PS1": "> "}
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, 80))
    with child(
        [shell, *SHELLS[shell]],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
    ) as process:
        os.close(slave)
        terminal = Terminal(master)
        time.sleep(1)
        if shell == "zsh":
            terminal.type("autoload -U compinit && compinit -u\n")
        terminal.type(f"{line_for(shell)}; echo rea''dy\n")
        terminal.wait("ready\r?\n")
        for typed, wanted in (
            ("fastgru ins\t", r"fastgru inspect"),
            ("fastgru inspect --arch\t", r"--architecture"),
            ("fastgru convert --precision bfl\t", r"bfloat16"),
            ("fastgru inspect speech-m\t", r"speech-model\.onnx"),
            ("fastgru wa\t\t", r"warmup"),
        ):
            terminal.type(typed)
            terminal.wait(wanted)
            terminal.type("\x15\n")
            time.sleep(0.3)
        terminal.type("exit\n")
        process.wait(20)
    os.close(master)


@pytest.mark.parametrize(("typed", "wanted", "other"), [
    ("fastgru ins", "inspect", "run"),
    ("fastgru inspect --arch", "--architecture", "--nodes"),
    ("fastgru convert --precision bfl", "bfloat16", "int8"),
    ("fastgru inspect speech-m", "speech-model.onnx", "speech-notes.txt"),
    ("fastgru ", "warmup", "speech-model.onnx"),
])  # fmt: skip
def test_fish_completes_commands_options_and_files(typed: str, wanted: str, other: str, tmp_path: Path) -> None:
    """Fish says itself what the Tab key would offer: a candidate on each line, and a description behind it."""
    if shutil.which("fish") is None:
        pytest.skip("not installed: fish")
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"{line_for('fish')}; complete -C '{typed}'"],
        cwd=tmp_path, env=installed(tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    offered = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert wanted in offered, (done.stdout, done.stderr)
    assert other not in offered
