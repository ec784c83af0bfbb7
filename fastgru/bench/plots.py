"""Plots as SVG for a page: lines on logarithmic axes, and bars, by matplotlib. The same numbers give the same bytes.

Colours are those of the page, --s0 to --s4, --soft and --rule, so that they change with it. Series differ by marker as
well as by colour; a pointer on a mark shows its numbers.
"""

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from fastgru.errors import FastGRUError
from fastgru.records import dataclass

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Bar", "Series", "bar_chart", "check_matplotlib", "line_chart"]

_WIDTH: Final = 9.6  # inches of 75 points
_MARKERS: Final = "os^D*"
# What matplotlib draws in; each becomes a variable of the page.
_COLOURS: Final = {f"#00000{k}": f"var(--s{k})" for k in range(5)} | {
    "#000006": "var(--soft)",
    "#000007": "var(--rule)",
}
_SERIES: Final = list(_COLOURS)[:5]
_SOFT, _RULE = list(_COLOURS)[5:]
_STYLE: Final = {
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.color": _RULE,
    "legend.frameon": False,
    "legend.labelcolor": "linecolor",
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "fastgru",
    "text.color": _SOFT,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
}
# Names that SVG's of one page would share, and nothing refers to; and what a mark says.
_IDS: Final = re.compile(r' id="(?:figure|axes|patch|line2d|text|legend|xtick|ytick|matplotlib\.axis)_\d+"')
_NOTE: Final = re.compile(r'<g id="note:(.*?)">')


@dataclass(frozen=True)
class Series:
    """A line: a name, its colour (the k of --s<k>), and points (x, y) with x ascending, all above zero."""

    name: str
    colour: int
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """label, value as a share of the whole, the words at its end, colour."""

    label: str
    value: float
    words: str
    colour: int = 0


def check_matplotlib() -> None:
    """Raise `FastGRUError` where matplotlib is not installed."""
    try:
        from matplotlib import rc_context  # noqa: F401
    except ImportError:
        raise FastGRUError("plots are drawn by matplotlib: pip install 'fastgru[bench]'") from None


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, y_words: Callable[[float], str] = "{:g}".format
) -> str:
    """Both axes logarithmic; ticks at the x of the data, and at 1, 2, 5, 10... of y. "" where there is no point."""
    drawn = sorted((s for s in series if s.points), key=lambda s: -s.points[-1][1])
    if not drawn:
        return ""
    xs, ys = (sorted({point[axis] for s in drawn for point in s.points}) for axis in (0, 1))

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        for s in drawn:
            colour, marker = _SERIES[s.colour], _MARKERS[s.colour]
            style = "--" if s.dashed else "-"
            axes.plot(*zip(*s.points, strict=True), style, marker=marker, color=colour, label=s.name)
            for x, y in s.points:  # marks of their own carry the notes
                axes.plot(x, y, marker, color=colour, gid=f"note:{s.name}, {x_label} {x:g}: {y_words(y)}")
        axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        least = (xs[-1] / xs[0]) ** 0.04
        axes.set_xticks([x for k, x in enumerate(xs) if k == 0 or x >= least * xs[k - 1]])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ys[-1] <= 1000 * ys[0] else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: y_words(y)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid()
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))

    return _drawn(title, 5.3, draw)


def bar_chart(bars: Sequence[Bar], *, title: str, whole: float = 1.0, marks: Sequence[float] = ()) -> str:
    """Horizontal bars, a line across them at each of `marks`. "" for no bars."""
    if not bars:
        return ""

    def draw(axes: "Axes") -> None:
        places = range(len(bars))
        rows = axes.barh(places, [bar.value for bar in bars], 0.7, color=[_SERIES[bar.colour] for bar in bars])
        for row, bar in zip(rows, bars, strict=True):
            row.set_gid(f"note:{bar.label}: {bar.words}")
        axes.bar_label(rows, [bar.words for bar in bars], padding=4)
        axes.set(xlim=(0, 1.02 * max(whole, *(bar.value for bar in bars))), ylim=(len(bars) - 0.5, -0.5))
        axes.set_yticks(places, [bar.label for bar in bars])
        axes.set_xticks(marks, [f"{100 * mark:.0f} %" for mark in marks])
        axes.set_axisbelow(True)
        axes.grid(axis="x")

    return _drawn(title, 0.5 + 0.29 * len(bars), draw)


def _drawn(title: str, height: float, draw: "Callable[[Axes], None]") -> str:
    """What `draw` draws, as an element `svg` for a page."""
    check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        for patch in (figure.patch, axes.patch):
            patch.set_visible(False)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    opening, _, plot = text.getvalue().partition("<svg ")[2].partition(">")
    plot = _NOTE.sub(r"<g><title>\1</title>", _IDS.sub("", plot).replace("xlink:href", "href"))
    for colour, variable in _COLOURS.items():
        plot = plot.replace(colour, variable)
    box, named = re.search(r'viewBox="[^"]*"', opening), escape(title, quote=True)
    assert box is not None
    return f'<svg {box[0]} role="img" aria-label="{named}" xmlns="http://www.w3.org/2000/svg">{plot.rstrip()}'
