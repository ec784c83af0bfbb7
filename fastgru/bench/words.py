"""Numbers for people: the same text in the terminal, on the page and in the README."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastgru.bench.cases import RTNEURAL_NS, Case
from fastgru.bench.contender import NAME
from fastgru.bench.result import Result, Row
from fastgru.records import dataclass
from fastgru.terminal import counted, time_of

__all__ = [
    "Cell",
    "absences",
    "error_of",
    "legend_of",
    "machine_facts",
    "machine_line",
    "name_of",
    "percent",
    "printed",
    "ratio_of",
    "table_of",
    "threads_of",
    "tiny_lines",
    "versions_line",
    "written",
]

_NAMES: Final = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}


def name_of(contender: str) -> str:
    """Return the printed name of a contender: "torch int8" -> "PyTorch int8"."""
    package, blank, rest = contender.partition(" ")
    return f"{_NAMES.get(package, package)}{blank}{rest}"


def printed(words: str) -> str:
    """Return text of the terminal for print: microseconds with the letter mu."""
    return re.sub(r"(\d) us\b", "\\1 \N{MICRO SIGN}s", words)


def written(seconds: float) -> str:
    """Return `time_of` for print."""
    return printed(time_of(seconds))


def ratio_of(value: float | None) -> str:
    """1.234 -> "1.23x", 123.4 -> "123x"."""
    return (
        "-" if value is None else f"{value:.2f}x" if value < 10 else f"{value:.1f}x" if value < 100 else f"{value:.0f}x"
    )


def percent(share: float | None) -> str:
    """0.256 -> "26 %"; None -> "-"."""
    return "-" if share is None else f"{100 * share:.0f} %"


def error_of(row: Row, name: str) -> str:
    """Return a contender's largest difference from the float64 definition, for rows below float32: "2e-03"."""
    if row.case is None or row.case.precision in ("float64", "float32") or name not in row.errors:
        return ""
    return f"{row.errors[name]:.0e}"


def machine_facts(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts of `fastgru.bench.machine.describe`, each with its name."""
    forced = " (forced)" if machine.get("forced") else " (built for this CPU)" if machine.get("tuned") else ""
    caches = machine["cache_bytes"]
    sizes = ", ".join(f"{name} {caches[key] // 1024} KiB" for name, key in (("L1", "l1d"), ("L2", "l2"), ("L3", "l3")))
    found = {
        "CPU": f"{machine['cpu']}, {counted(machine['cores'], 'core')}",
        "Target": f"{machine['target']}{forced}",
        "Caches": sizes,
        "System": f"{machine['system']}, Python {machine['python']}",
        "Versions": ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version),
        "Measured on": machine["date"],
        "Load before the run": "" if machine["load"] is None else f"{machine['load']:.1f}",
    }
    return [(name, words) for name, words in found.items() if words]


def machine_line(machine: Mapping[str, Any]) -> str:
    """Return the CPU, its target, caches and system, and the load before the run."""
    facts = dict(machine_facts(machine))
    load = f"; load {facts['Load before the run']} before the run" if "Load before the run" in facts else ""
    return f"{facts['CPU']}, {facts['Target']}; {facts['Caches']}; {machine['system']}{load}"


def versions_line(machine: Mapping[str, Any]) -> str:
    """Return the versions of Python and of the measured packages, without absent ones."""
    listed = [f"{name} {version}" for name, version in machine["versions"].items() if version]
    return ", ".join([f"Python {machine['python']}", *listed])


@dataclass(frozen=True)
class Cell:
    """A cell of a table. words: the text. more: more text, such as the ratio of a rival. remark: an explanation.

    kind: "good" if ours is faster, "bad" if it is slower or failed. strong: whether it belongs to the fastest rival.
    """

    words: str
    more: str = ""
    kind: str = ""
    strong: bool = False
    remark: str = ""


def table_of(rows: Sequence[Row], *, without: str = "") -> tuple[list[str], list[list[Cell]]]:
    """Return the heads of a table and its lines, one per row. A failed row has two cells, its name and the reason.

    A rival without any result has no column, and neither has `without`.
    """
    rivals = [name for name in dict.fromkeys(name for row in rows for name in row.rivals) if name != without]
    own = ["of 1 thread"] if any(row.own_ratio for row in rows) else []
    error = ["error"] if any(error_of(row, "fastgru") for row in rows) else []
    limit = ["of the limit"] if any(row.bound for row in rows) else []
    lines = []
    for row in rows:
        if row.ours is None:
            lines.append([Cell(row.title), Cell(row.trouble, kind="bad")])
            continue
        lines.append(
            [
                Cell(row.title),
                Cell(time_of(row.ours.median_s), remark=row.ours.setting),
                *([Cell(error_of(row, "fastgru"))] if error else []),
                Cell(time_of(row.ours.p99_s)),
                Cell(percent(row.ours.spread)),
                *[_rival(row, name) for name in rivals],
                *([Cell(ratio_of(row.own_ratio.median if row.own_ratio else None))] if own else []),
                *([Cell(f"{percent(row.share)} {row.bound.limit}" if row.bound else "")] if limit else []),
            ]
        )
    return ["case", "fastgru", *error, "p99", "spread", *rivals, *own, *limit], lines


_COLOURS: Final = (
    ". Bold: the fastest rival. Green: fastgru was faster in at least three of four rounds. Red: the rival was faster"
    " in at least three of four"
)


def legend_of(rows: Sequence[Row], *, coloured: bool = True) -> list[tuple[str, str]]:
    """Return the symbols and columns of the rows' table with their meanings. coloured: explain the colours, too."""
    cases = [row.case for row in rows if row.case is not None]
    ran = [row for row in rows if row.ours is not None]
    rivals = {name for row in ran for name in row.rivals}
    found = {
        "T, N, I, H": (
            cases,
            "frames, rows (the batch size), inputs per frame, hidden units; if I is not given, it equals H",
        ),
        "step": (_kind(cases, "step"), "one frame through a stream, which carries the state"),
        "T=...": (_kind(cases, "sequence"), "a whole sequence in one call, starting from a state of zeros"),
        "block": (_kind(cases, "block"), "T frames through a stream in one call; rivals are called once per frame"),
        "fastgru": (ran, "the median time of one call"),
        "error": (
            any(error_of(row, NAME) for row in ran),
            "the largest difference from the outputs of the model's float64 definition",
        ),
        "p99": (ran, "99 of 100 calls took at most this long"),
        "spread": (
            any(row.ours.spread is not None for row in ran if row.ours),
            "the interquartile range of the times of the rounds, as a share of their median",
        ),
        "a rival": (
            rivals,
            "its median time, and how many times as long as fastgru it takes: the median of the ratios of all rounds"
            + coloured * _COLOURS,
        ),
        "of 1 thread": (
            any(row.own_ratio for row in ran),
            "the time of fastgru on one thread, divided by its time here",
        ),
        "of the limit": (
            any(row.bound for row in ran),
            "the least time that the machine's measured peaks allow, divided by the time taken, and what limits it: fma"
            " (multiply-adds), dot (multiply-adds of bfloat16 or int8), or reading the weights from L1, L2, L3 or"
            " memory",
        ),
    }
    return [(name, meaning) for name, (is_shown, meaning) in found.items() if is_shown]


def _kind(cases: Sequence[Case], kind: str) -> bool:
    return any(case.kind == kind for case in cases)


def absences(rows: Sequence[Row]) -> list[str]:
    """Return why rivals have no figures: once for all rows, or with the rows that a reason applies to.

    A lower precision of a rival has no line of its own if the rival itself is absent for the same reason.
    """
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, reason in row.absent.items():
            if " " not in name or row.absent.get(name.split()[0]) != reason:
                reasons.setdefault((name, reason), []).append(row.title)
    found = []
    for (name, reason), titles in reasons.items():
        where = "" if len(titles) == len(rows) else f" ({'; '.join(dict.fromkeys(titles))})"
        found.append(f"{name_of(name)}: {reason}{where}")
    return found


def threads_of(rows: Sequence[Row]) -> str:
    """Return the threads of ours in rows with the same number of them: "2 threads, spinning 50 us"."""
    count = counted(rows[0].threads, "thread")
    settings = (row.ours.setting for row in rows if row.ours is not None)
    return next((setting for setting in settings if setting.startswith(f"{count},")), count)


def _rival(row: Row, name: str) -> Cell:
    timing = row.rivals.get(name)
    if timing is None:
        return Cell("-", remark=row.absent.get(name, ""))
    found = row.ratios[name]
    kind = "good" if found.low > 1 else "bad" if found.high < 1 else ""
    more = " ".join(filter(None, [ratio_of(found.median), error_of(row, name)]))
    return Cell(time_of(timing.median_s), more, kind, name == row.best_rival, timing.setting)


def tiny_lines(result: Result) -> list[tuple[str, str, str, str]]:
    """Return block calls on the fewest threads: case, our time per step, RTNeural's best, onnxruntime's ratio."""
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
