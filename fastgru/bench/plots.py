"""Plots as SVG for a page, by matplotlib. The same numbers give the same bytes.

Colours are those of the page, --s0 to --s4, --soft and --rule, so that they change with it; `standalone` gives them the
values of one theme, for a file of its own. Series differ by marker as well as by colour, and a pointer on a mark shows
its numbers. Every plot is `WIDTH` units wide, so that its words can be read on a narrow screen.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from fastgru.errors import FastGRUError
from fastgru.records import dataclass

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["WIDTH", "Series", "check_matplotlib", "line_chart", "standalone"]

WIDTH: Final = 480
_UNIT: Final = 1 / 72  # inches
_MARKERS: Final = "os^D*"
# What matplotlib draws in; each becomes a variable of the page.
_COLOURS: Final = {
    f"#00001{k}": f"var(--{name})" for k, name in enumerate(("s0", "s1", "s2", "s3", "s4", "soft", "rule", "ink"))
}
_SERIES: Final = list(_COLOURS)[:5]
_SOFT, _RULE, _INK = list(_COLOURS)[5:]
_FONT: Final = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"
_STYLE: Final = {
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "font.size": 10.5,
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
# Names that SVG's of one page would share, and nothing refers to; and what a mark says.
_IDS: Final = re.compile(r' id="(?:figure|axes|patch|line2d|text|legend|xtick|ytick|matplotlib\.axis)_\d+"')
_NOTE: Final = re.compile(r'<g id="note:(.*?)">')
_DIGITS: Final = re.compile(r"(\d\.\d\d)\d+")
_FAMILY: Final = re.compile(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*")


@dataclass(frozen=True)
class Series:
    """A line: a name, its colour (the k of --s<k>), and points (x, y) with x ascending, all above zero."""

    name: str
    colour: int
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


def check_matplotlib() -> None:
    """Raise `FastGRUError` where matplotlib is not installed."""
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
    """Both axes logarithmic; ticks at the x of the data, and at 1, 2, 5, 10... of y. "" where there is no point."""
    drawn = [s for s in series if s.points]
    if not drawn:
        return ""
    xs, ys = (sorted({point[axis] for s in drawn for point in s.points}) for axis in (0, 1))

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        for s in reversed(drawn):  # the first lies on top
            colour, marker = _SERIES[s.colour], "" if s.dashed else _MARKERS[s.colour]
            width, style = 2.2 if s is drawn[0] else 1.4, "--" if s.dashed else "-"
            axes.plot(*zip(*s.points, strict=True), style, color=colour, linewidth=width)
            axes.plot([], [], style, marker=marker, color=colour, linewidth=width, label=s.name)
            for x, y in s.points:  # each mark is an element of its own, which carries its note
                axes.plot(x, y, marker or ".", color=colour, gid=f"note:{s.name}, {x_label} {x:g}: {y_words(y)}")
        axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        least = (xs[-1] / xs[0]) ** 0.04
        axes.set_xticks([x for k, x in enumerate(xs) if k == 0 or x >= least * xs[k - 1]])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ys[-1] <= 1000 * ys[0] else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: y_words(y)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid()
        handles, labels = axes.get_legend_handles_labels()
        columns = 3 if len(labels) in (3, 5, 6) or len(labels) > 8 else min(4, len(labels))
        axes.legend(handles[::-1], labels[::-1], ncols=columns, loc="lower left", bbox_to_anchor=(0, 1.03))

    return _drawn(title, 330, draw)


def standalone(svg: str, colours: Mapping[str, str], width: int) -> str:
    """The SVG as a file of its own, so many pixels wide, on its page's ground. colours: by the page's variables."""
    found = re.match(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found is not None
    height = width * float(found[2]) / float(found[1])
    text = re.sub(r"var\(--(\w+)\)", lambda match: colours[match[1]], svg)
    opening, end, drawn = text.partition(">")
    ground = f'<rect width="100%" height="100%" rx="6" fill="{colours["bg"]}"/>'
    return opening.replace("<svg ", f'<svg width="{width}" height="{height:.0f}" ', 1) + end + ground + drawn + "\n"


def _drawn(title: str, height: float, draw: "Callable[[Axes], None]") -> str:
    """What `draw` draws, as an element `svg` for a page."""
    check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH * _UNIT, height * _UNIT), layout="constrained")
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
