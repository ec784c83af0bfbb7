"""Draws plots as SVG for a page, with matplotlib. The same numbers give the same bytes.

Colours are variables of the page, --s0 to --s4, --soft and --rule, so that they follow its theme. `standalone` gives
them the values of one theme, for a file of its own. Series differ by marker as well as by colour, and a pointer on a
mark shows its numbers. Every plot is as wide as half a page, so that its text can be read on a narrow screen.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np

from fastgru.errors import FastGRUError
from fastgru.records import dataclass

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Bar", "Series", "bar_chart", "check_matplotlib", "line_chart", "mark_chart", "standalone"]

_WIDTH: Final = 480
_UNIT: Final = 1 / 72  # inches
_MARKERS: Final = "os^D*"
# The colours in which matplotlib draws; each becomes a variable of the page.
_COLOURS: Final = {
    f"#00001{k}": f"var(--{name})"
    for k, name in enumerate(("s0", "s1", "s2", "s3", "s4", "soft", "rule", "ink", "card"))
}
_SERIES: Final = list(_COLOURS)[:5]
_SOFT, _RULE, _INK, _CARD = list(_COLOURS)[5:]
_FONT: Final = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"
_STYLE: Final = {
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "font.size": 11.5,
    "grid.color": _RULE,
    "legend.borderaxespad": 0,
    "legend.borderpad": 0,
    "legend.columnspacing": 1.4,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.5,
    "legend.labelcolor": _INK,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "fastgru",
    "text.color": _SOFT,
    "xtick.color": _SOFT,
    "xtick.labelcolor": _SOFT,
    "ytick.color": _SOFT,
}
# Ids that several SVGs of one page would share, and that nothing refers to; and the note of a mark.
_IDS: Final = re.compile(r' id="(?:figure|axes|patch|line2d|text|legend|xtick|ytick|matplotlib\.axis)_\d+"')
_NOTE: Final = re.compile(r'<g id="note:(.*?)">')
_DIGITS: Final = re.compile(r"(\d\.\d\d)\d+")
_FAMILY: Final = re.compile(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*")


@dataclass(frozen=True)
class Series:
    """A line: a name, a colour (the k of --s<k>), and points (x, y) with x ascending and all numbers above zero."""

    name: str
    colour: int
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar with its label and the text behind it. values: those whose median is `value`, drawn as ticks."""

    label: str
    value: float
    words: str
    colour: int
    values: tuple[float, ...] = ()


def check_matplotlib() -> None:
    """Raise `FastGRUError` if matplotlib is not installed."""
    try:
        from matplotlib import rc_context  # noqa: F401
    except ImportError:
        raise FastGRUError("plots are drawn by matplotlib: pip install 'fastgru[bench]'") from None


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_words: Callable[[float], str] = "{:g}".format,
) -> str:
    """Draw lines on logarithmic axes, with ticks at the x of the data and at 1, 2, 5, 10... of y. "" without points."""
    drawn = [s for s in series if s.points]
    if not drawn:
        return ""
    xs, ys = (sorted({point[axis] for s in drawn for point in s.points}) for axis in (0, 1))

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        for order, s in enumerate(drawn):
            colour, marker = _SERIES[s.colour], "" if s.dashed else _MARKERS[s.colour]
            width, style = 2.2 if s is drawn[0] else 1.4, "--" if s.dashed else "-"
            on_top = 3 - order / 100  # the first line is on top
            axes.plot(*zip(*s.points, strict=True), style, color=colour, linewidth=width, zorder=on_top)
            axes.plot([], [], style, marker=marker, color=colour, linewidth=width, label=s.name)
            for x, y in s.points:  # a separate element for each mark, with its note
                note = f"note:{s.name}, {x_label} {x:g}: {y_words(y)}"
                axes.plot(x, y, marker or ".", color=colour, zorder=on_top, gid=note)
        axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        axes.set_xticks(_apart(xs, (xs[-1] / xs[0]) ** 0.1))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ys[-1] <= 1000 * ys[0] else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: y_words(y)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid()
        _legend(axes, 1.03)

    return _drawn(title, 330, draw)


def _apart(values: Sequence[float], factor: float) -> list[float]:
    """Return the ascending values that are at least `factor` times the one kept before, beginning with the first."""
    found = [values[0]]
    for value in values:
        if value >= factor * found[-1]:
            found.append(value)
    return found


def mark_chart(
    rows: Sequence[tuple[str, Mapping[str, float]]],
    colours: Mapping[str, int],
    *,
    title: str,
    x_label: str,
    x_words: Callable[[float], str],
) -> str:
    """Draw a line for each row with its text above it, and a mark for each named value; a bold line stands at 1.

    The x axis is logarithmic. Returns "" without values.
    """
    values = [value for _, named in rows for value in named.values()]
    if not values:
        return ""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        places = range(len(rows))
        axes.set(xscale="log", xlim=(min(0.9, *values) / 1.1, max(1.5, *values) * 1.15), xlabel=x_label)
        axes.set(ylim=(len(rows) - 0.3, -0.9), yticks=[])
        axes.hlines(places, *axes.get_xlim(), color=_RULE, linewidth=0.8)
        for place, (words, named) in zip(places, rows, strict=True):
            ground = {"facecolor": _CARD, "edgecolor": "none", "pad": 0.5}
            across = axes.get_yaxis_transform()
            axes.text(0, place - 0.2, words, color=_INK, size=10.5, va="bottom", bbox=ground, transform=across)
            for name, value in named.items():
                colour, marker = _SERIES[colours[name]], _MARKERS[colours[name]]
                axes.plot(value, place, marker, color=colour, gid=f"note:{name}, {words}: {x_words(value)}")
        axes.axvline(1, color=_SOFT, linewidth=1.2)
        for name, k in colours.items():
            axes.plot([], [], _MARKERS[k], color=_SERIES[k], label=name)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) <= 100 * min(values) else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}x"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        _legend(axes, 0.99 + 12 / (26 * len(rows)))

    return _drawn(title, 90 + 26 * len(rows), draw)


def bar_chart(bars: Sequence[Bar], *, title: str, x_label: str, x_words: Callable[[float], str]) -> str:
    """Draw horizontal bars from 0, each below its label. Returns "" without bars."""
    if not bars:
        return ""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        for place, bar in enumerate(bars):
            (drawn,) = axes.barh([place], [bar.value], 0.42, color=_SERIES[bar.colour])
            drawn.set_gid(f"note:{bar.label}: {bar.words}")
            axes.plot(bar.values, [place] * len(bar.values), "|", color=_INK, markersize=9, markeredgewidth=0.8)
            axes.text(0, place - 0.27, f"{bar.label}: {bar.words}", va="bottom", color=_INK)
        axes.set(ylim=(len(bars) - 0.6, -0.9), yticks=[], xlabel=x_label)
        axes.set_xlim(0, 1.04 * max(value for bar in bars for value in (bar.value, *bar.values)))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: x_words(x) if x else "0"))
        axes.set_axisbelow(True)
        axes.grid(axis="x")

    return _drawn(title, 60 + 44 * len(bars), draw)


def _legend(axes: "Axes", height: float) -> None:
    """Place the legend above the plot, in as few lines as its width allows."""
    handles, labels = axes.get_legend_handles_labels()
    columns = next(n for n in range(len(labels), 0, -1) if n == 1 or _width(labels, n) <= _WIDTH - 60)
    axes.legend(handles, labels, ncols=columns, loc="lower left", bbox_to_anchor=(0, height))


def _width(labels: Sequence[str], columns: int) -> float:
    """Estimate the width of a legend whose labels matplotlib splits into so many columns."""
    return sum(46 + 6.2 * max(map(len, column)) for column in np.array_split(labels, columns))


def standalone(svg: str, colours: Mapping[str, str], width: int) -> str:
    """Return the SVG as a file of its own, `width` pixels wide, with a background. colours: values of the variables."""
    found = re.match(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found is not None
    height = width * float(found[2]) / float(found[1])
    text = re.sub(r"var\(--(\w+)\)", lambda match: colours[match[1]], svg)
    opening, end, drawn = text.partition(">")
    ground = f'<rect width="100%" height="100%" rx="6" fill="{colours["bg"]}"/>'
    return opening.replace("<svg ", f'<svg width="{width}" height="{height:.0f}" ', 1) + end + ground + drawn + "\n"


def _drawn(title: str, height: float, draw: "Callable[[Axes], None]") -> str:
    """Return the plot that `draw` draws, as an element `svg` for a page."""
    check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH * _UNIT, height * _UNIT), layout="constrained")
        axes = figure.add_subplot()
        for patch in (figure.patch, axes.patch):
            patch.set_visible(False)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    opening, _, plot = text.getvalue().partition("<svg ")[2].partition(">")
    plot = _NOTE.sub(r"<g><title>\1</title>", _IDS.sub("", plot).replace("xlink:href", "href"))
    plot = _DIGITS.sub(r"\1", _FAMILY.sub(rf"\g<1>{_FONT}", plot))
    for colour, variable in _COLOURS.items():
        plot = plot.replace(colour, variable)
    box, named = re.search(r'viewBox="[^"]*"', opening), escape(title, quote=True)
    assert box is not None
    return f'<svg {box[0]} role="img" aria-label="{named}" xmlns="http://www.w3.org/2000/svg">{plot.rstrip()}'
