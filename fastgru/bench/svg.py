"""Plots as inline SVG: lines on logarithmic axes, and bars. Colours are CSS variables of the page, --s0 to --s5.

Series differ by marker as well as by colour, and are named at their ends.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "Series", "bar_chart", "line_chart"]

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 130, 16, 48
_MARKERS = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True)
class Series:
    """A line: a name, its colour (the k of --s<k>), and points (x, y) with x ascending, all above zero."""

    name: str
    colour: int
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """label, value as a share of `bar_chart`'s whole, the words at its end, colour."""

    label: str
    value: float
    words: str
    colour: int = 0


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, y_words: Callable[[float], str] = "{:g}".format
) -> str:
    """Both axes logarithmic; ticks at the x of the data, and at 1, 2, 5, 10... of y."""
    points = [p for s in series for p in s.points]
    if not points:
        return ""
    xs = sorted({x for x, _ in points})
    low, high = min(y for _, y in points), max(y for _, y in points)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def place(value: float, first: float, last: float, start: float, end: float) -> float:
        span = math.log(last / first) or 1.0
        return start + math.log(value / first) / span * (end - start)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            place(x, xs[0], xs[-1], _LEFT + 12, _WIDTH - _RIGHT - 12),
            place(y, low, high, _HEIGHT - _BOTTOM, _TOP),
        )

    parts = [_open(_HEIGHT, title)]
    for y in ticks:
        _, v = at(xs[0], y)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{v:.1f}" y2="{v:.1f}"/>')
        parts.append(_text(_LEFT - 8, v + 4, y_words(y), "end"))
    for x in _apart(xs, lambda x: at(x, low)[0], 34):
        u, _ = at(x, low)
        parts.append(f'<line class="grid" x1="{u:.1f}" x2="{u:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(_text(u, _HEIGHT - _BOTTOM + 18, f"{x:g}", "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, x_label, "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text x="14" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 14 {middle:.0f})">'
        f"{escape(y_label)}</text>"
    )
    ends = _spread([at(*s.points[-1])[1] for s in series if s.points], 15)
    for s, end in zip([s for s in series if s.points], ends, strict=True):
        placed = [at(x, y) for x, y in s.points]
        path = " ".join(f"{u:.1f},{v:.1f}" for u, v in placed)
        dash = ' stroke-dasharray="5 4"' if s.dashed else ""
        parts.append(f'<polyline class="line" style="stroke:var(--s{s.colour})"{dash} points="{path}"/>')
        for (u, v), (x, y) in zip(placed, s.points, strict=True):
            note = escape(f"{s.name}, {x_label} {x:g}: {y_words(y)}")
            parts.append(_marker(_MARKERS[s.colour % len(_MARKERS)], u, v, s.colour, note))
        parts.append(
            f'<text x="{placed[-1][0] + 10:.1f}" y="{end + 4:.1f}" style="fill:var(--s{s.colour})">'
            f"{escape(s.name)}</text>"
        )
    parts.append("</svg>")
    return "".join(parts)


def bar_chart(bars: Sequence[Bar], *, title: str, whole: float = 1.0, marks: Sequence[float] = ()) -> str:
    """Horizontal bars, a line across them at each of `marks`."""
    if not bars:
        return ""
    row, left, right = 22, 290, 100
    height = row * len(bars) + 34
    scale = (_WIDTH - left - right) / max(whole, *(bar.value for bar in bars))
    parts = [_open(height, title)]
    for mark in marks:
        u = left + mark * scale
        parts.append(f'<line class="grid" x1="{u:.1f}" x2="{u:.1f}" y1="6" y2="{height - 26}"/>')
        parts.append(_text(u, height - 8, f"{100 * mark:.0f} %", "middle"))
    for k, bar in enumerate(bars):
        y = 8 + row * k
        parts.append(_text(left - 8, y + 13, bar.label, "end"))
        parts.append(
            f'<rect x="{left}" y="{y}" width="{max(bar.value * scale, 1):.1f}" height="{row - 6}" rx="2"'
            f' style="fill:var(--s{bar.colour})"><title>{escape(f"{bar.label}: {bar.words}")}</title></rect>'
        )
        parts.append(_text(left + bar.value * scale + 6, y + 13, bar.words, "start"))
    parts.append("</svg>")
    return "".join(parts)


def _open(height: int, title: str) -> str:
    named = escape(title, quote=True)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{named}" xmlns="http://www.w3.org/2000/svg">'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _marker(kind: str, u: float, v: float, colour: int, note: str) -> str:
    style = f'style="fill:var(--s{colour})"'
    if kind == "circle":
        return f'<circle cx="{u:.1f}" cy="{v:.1f}" r="4" {style}><title>{note}</title></circle>'
    corners = {
        "square": ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
        "triangle": ((0, -5), (4.5, 3.5), (-4.5, 3.5)),
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
    }[kind]
    points = " ".join(f"{u + a:.1f},{v + b:.1f}" for a, b in corners)
    return f'<polygon points="{points}" {style}><title>{note}</title></polygon>'


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten from just below `low` to just above `high`; only the powers over many decades."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    every = [step * 10.0**k for k in range(first, last + 1) for step in steps]
    below = max((t for t in every if t <= low), default=every[0])
    above = min((t for t in every if t >= high), default=every[-1])
    return [t for t in every if below <= t <= above]


def _apart(values: Sequence[float], place: Callable[[float], float], least: float) -> list[float]:
    """Those of `values` whose labels do not run into the one before."""
    found: list[float] = []
    for value in values:
        if not found or place(value) - place(found[-1]) >= least:
            found.append(value)
    return found


def _spread(heights: Sequence[float], least: float) -> list[float]:
    """The heights, moved down where they are closer than `least`, in the order given."""
    placed = list(heights)
    order = sorted(range(len(placed)), key=lambda i: placed[i])
    for before, after in itertools.pairwise(order):
        placed[after] = max(placed[after], placed[before] + least)
    return placed
