"""The README's section on speed, written from a result and never by hand.

    fastgru bench --suite full --threads 1,2 --json result.json
    python tools/bench_readme.py result.json README.md

What stands between the two comments `BEGIN` and `END` is replaced.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fastgru.bench.result import Result, Row
from fastgru.bench.words import error_of, machine_line, percent, ratio_of, threads_of, tiny_lines, versions_line
from fastgru.errors import FastGRUError, InvalidModelError
from fastgru.terminal import time_of

__all__ = ["BEGIN", "END", "main", "section", "update"]

BEGIN: Final = "<!-- bench: begin; written by tools/bench_readme.py, do not edit -->"
END: Final = "<!-- bench: end -->"


def update(text: str, result: Result) -> str:
    """`text` with the section replaced. Raises `InvalidModelError` where the two comments are not there, once each."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InvalidModelError(f"expected one line {BEGIN!r} and after it one line {END!r}")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{section(result)}{END}{after}"


def section(result: Result) -> str:
    """The section as Markdown."""
    return "\n\n".join(_parts(result)) + "\n"


def _parts(result: Result) -> Iterator[str]:
    threads = sorted({row.threads for row in result.rows})
    spun = [re.search(r"spinning (\S+) us", row.ours.setting) for row in result.rows if row.ours is not None]
    counts = ",".join(map(str, threads)) + next((f" --spin-us {found[1]}" for found in spun if found), "")
    yield "This measures, and writes what was found here:"
    yield (
        f"    fastgru bench --suite {result.suite} --threads {counts or 1} --json result.json\n"
        "    python tools/bench_readme.py result.json README.md"
    )
    yield (
        f"Measured on {result.machine['date'].split()[0]}: {machine_line(result.machine)}.\n"
        f"{versions_line(result.machine)}.\n"
        "A ratio is the time of the rival over ours in the same round, the median of all rounds; outputs are compared\n"
        "first, and each rival runs in the fastest of its configurations. The share is of the time that the machine's\n"
        "measured peaks allow at best."
    )
    for count in threads:
        rows = [row for row in result.rows if row.threads == count]
        rivals = list(dict.fromkeys(name for row in rows for name in row.rivals))
        error = ["error"] if any(error_of(row, "fastgru") for row in rows) else []
        lines = [_cells(row, rivals, reduced=bool(error)) for row in rows if row.ours is not None]
        yield f"**{threads_of(rows)}**"
        yield _table(["case", "fastgru", *error, *rivals, "share of the bound"], lines)
    if tiny := tiny_lines(result):
        yield "**Tiny nets, block calls** (RTNeural's figures are its authors', on a desktop CPU of 2018)"
        yield _table(["case", "fastgru, a step", "RTNeural, a step"], [line[:3] for line in tiny])
    if reasons := sorted({f"{name}: {reason}" for row in result.rows for name, reason in row.absent.items()}):
        yield f"Not compared: {'; '.join(reasons)}."


def _cells(row: Row, rivals: Sequence[str], *, reduced: bool) -> list[str]:
    assert row.ours is not None
    ratios = {name: ratio_of(row.ratios[name].median) if name in row.ratios else "-" for name in rivals}
    marked = [f"**{words}**" if name == row.best_rival else words for name, words in ratios.items()]
    share = f"{percent(row.share)} {row.bound.limit}" if row.bound else "-"
    error = [error_of(row, "fastgru")] if reduced else []
    return [row.title, time_of(row.ours.median_s), *error, *marked, share]


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 2 with a line on standard error."""
    if len(arguments) != 2:
        print("usage: python tools/bench_readme.py RESULT.json README.md", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    try:
        result = Result.from_json(source.read_text(encoding="utf-8"))
        target.write_text(update(target.read_text(encoding="utf-8"), result), encoding="utf-8")
    except (FastGRUError, OSError) as error:
        print(f"bench_readme: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
