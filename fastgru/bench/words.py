"""Numbers as people read them: the same words in the terminal, on the page and in the README."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastgru.bench.cases import RTNEURAL_NS
from fastgru.bench.result import Result, Row
from fastgru.records import dataclass
from fastgru.terminal import counted, time_of

__all__ = [
    "Cell",
    "error_of",
    "machine_line",
    "name_of",
    "percent",
    "ratio_of",
    "table_of",
    "threads_of",
    "tiny_lines",
    "versions_line",
    "written",
]

_NAMES: Final = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}


def name_of(contender: str) -> str:
    """The name of a contender in print: "torch int8" -> "PyTorch int8"."""
    package, blank, rest = contender.partition(" ")
    return f"{_NAMES.get(package, package)}{blank}{rest}"


def written(seconds: float) -> str:
    """`time_of` in print, with the letter mu."""
    return time_of(seconds).replace(" us", " \N{MICRO SIGN}s")


def ratio_of(value: float | None) -> str:
    """1.234 -> "1.23x", 123.4 -> "123x"."""
    return (
        "-" if value is None else f"{value:.2f}x" if value < 10 else f"{value:.1f}x" if value < 100 else f"{value:.0f}x"
    )


def percent(share: float | None) -> str:
    """0.256 -> "26 %"; None -> "-"."""
    return "-" if share is None else f"{100 * share:.0f} %"


def error_of(row: Row, name: str) -> str:
    """The largest difference of a contender to the float64 definition, of rows where ours is below float32: "2e-03"."""
    if row.case is None or row.case.precision in ("float64", "float32") or name not in row.errors:
        return ""
    return f"{row.errors[name]:.0e}"


def machine_line(machine: Mapping[str, Any]) -> str:
    """CPU, cores, target, caches and system of `fastgru.bench.machine.describe`."""
    forced = " (forced)" if machine.get("forced") else " (and this very CPU)" if machine.get("tuned") else ""
    caches = machine["cache_bytes"]
    sizes = ", ".join(f"{name} {caches[key] // 1024} KiB" for name, key in (("L1", "l1d"), ("L2", "l2"), ("L3", "l3")))
    load = "" if machine["load"] is None else f"; load {machine['load']:.1f} before the run"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['target']}{forced}; {sizes}; {machine['system']}{load}"
    )


def versions_line(machine: Mapping[str, Any]) -> str:
    """Python and the packages that were measured, with their versions."""
    listed = ", ".join(f"{name} {version or '(absent)'}" for name, version in machine["versions"].items())
    return f"Python {machine['python']}, {listed}"


@dataclass(frozen=True)
class Cell:
    """Of a table: words, what they are ("good", "bad" or neither), words of less weight after them, and a remark."""

    words: str
    kind: str = ""
    more: str = ""
    remark: str = ""


def table_of(rows: Sequence[Row], *, without: str = "") -> tuple[list[str], list[list[Cell]]]:
    """The heads of a table and its lines, one a row; a row that failed has two cells, its name and why.

    without: the name of a rival that has no column.
    """
    names = dict.fromkeys(name for row in rows for name in (*row.rivals, *row.absent))
    rivals = [name for name in names if name != without]
    own = ["over 1 thread"] if any(row.own_ratio for row in rows) else []
    error = ["error"] if any(error_of(row, "fastgru") for row in rows) else []
    heads = ["case", "fastgru", *error, "p99", "spread", *rivals, "best", "goal", *own, "of the bound"]
    lines = []
    for row in rows:
        if row.ours is None:
            lines.append([Cell(row.title), Cell("none", "bad", remark=row.trouble)])
            continue
        over = row.case.goal_rival if row.case is not None else None
        goal = "" if row.goal is None else f"{row.goal:g}x" + (f" {over}" if over else "")
        lines.append(
            [
                Cell(row.title),
                Cell(time_of(row.ours.median_s)),
                *([Cell(error_of(row, "fastgru"))] if error else []),
                Cell(time_of(row.ours.p99_s)),
                Cell(percent(row.ours.spread)),
                *[_rival(row, name) for name in rivals],
                Cell(ratio_of(row.ratio), "bad" if row.faults else "good" if row.ratio else ""),
                Cell(goal),
                *([Cell(ratio_of(row.own_ratio.median if row.own_ratio else None))] if own else []),
                Cell(f"{percent(row.share)} {row.bound.limit}" if row.bound else ""),
            ]
        )
    return heads, lines


def threads_of(rows: Sequence[Row]) -> str:
    """On which threads ours ran in rows of the same number of them: "2 threads, spinning 50 us"."""
    count = counted(rows[0].threads, "thread")
    settings = (row.ours.setting for row in rows if row.ours is not None)
    return next((setting for setting in settings if setting.startswith(f"{count},")), count)


def _rival(row: Row, name: str) -> Cell:
    timing = row.rivals.get(name)
    if timing is None:
        return Cell("", more="-", remark=row.absent.get(name, ""))
    beside = f"{ratio_of(row.ratios[name].median):>6} {error_of(row, name)}".rstrip()
    return Cell(time_of(timing.median_s), more=beside, remark=timing.setting)


def tiny_lines(result: Result) -> list[tuple[str, str, str, str]]:
    """Block calls on the fewest threads: case, our time a step, RTNeural's published best, onnxruntime's ratio."""
    blocks = [row for row in result.rows if row.case is not None and row.case.kind == "block"]
    fewest = min((row.threads for row in blocks if row.ours is not None), default=1)
    found = []
    for row in blocks:
        case, ours, rival = row.case, row.ours, row.ratios.get("onnxruntime")
        if case is not None and ours is not None and row.threads == fewest:
            published = RTNEURAL_NS.get(case.H) if case.I == case.H else None
            step, theirs = (
                f"{ours.median_s / (case.T * case.N) * 1e9:.0f} ns",
                f"{published:.0f} ns" if published else "-",
            )
            found.append((row.title, step, theirs, ratio_of(rival.median if rival else None)))
    return found
