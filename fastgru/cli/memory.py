"""`fastgru memory`: shows how much of the past a trained model uses, and the warm-up that a chunk needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np
from rich.console import Console
from rich.text import Text

import fastgru
from fastgru.arrays import Array
from fastgru.cli.arrays import name_inputs, read_arrays
from fastgru.cli.options import file_argument, json_option, load_options, precision_option, show
from fastgru.cli.outputs import check_output
from fastgru.cli.texts import read_alphabet, read_text
from fastgru.errors import DataError
from fastgru.graph import Graph
from fastgru.terminal import counted, legend, plain_table, progress, say, stdout

if TYPE_CHECKING:
    from fastgru.learn import Memory

__all__ = ["command"]

_SHOWN: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # the values of k in the table
_COUNT = click.IntRange(min=1)
_COLOURS: Final = {
    "s0": "#2456d6",
    "s1": "#c2410c",
    "s2": "#0f766e",
    "s3": "#7c3aed",
    "s4": "#64748b",
    "soft": "#52606d",
    "rule": "#d9dee5",
    "ink": "#1f2933",
    "card": "#ffffff",
    "bg": "#ffffff",
}
_WIDTH: Final = 720


@click.command("memory")
@file_argument
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="[NAME=]FILE",
    help="Real input: .npy, .npz or .csv, or a .txt file for a model that has an alphabet; repeatable.",
)
@click.option(
    "--bound",
    type=click.FloatRange(min=0, min_open=True),
    default=0.01,
    show_default=True,
    help="The largest difference allowed after the warm-up of a chunk, as a share of the largest output.",
)
@click.option("--frame", type=_COUNT, help="The steps in each call.  [default: 1, or the number that the model fixes]")
@click.option(
    "--horizon",
    type=_COUNT,
    help="For how many frames to follow the effect of a state, of a frame, and of a missing warm-up."
    "  [default: 256; for the warm-up, half of the frames that predict it]",
)
@click.option(
    "--chunks",
    type=_COUNT,
    default=32,
    show_default=True,
    help="How many chunks predict the warm-up; the same number of others check it.",
)
@click.option(
    "--runs", type=_COUNT, default=4, show_default=True, help="At how many frames of the data to measure the norms."
)
@click.option(
    "--risk",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.001,
    show_default=True,
    help="The share of chunks that may need a longer warm-up than predicted.",
)
@click.option(
    "--near",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="A gate counts as being at 0, or at 1, if the difference is smaller than this.",
)
@click.option("--skip-unknown", is_flag=True, help="Leave out characters that the alphabet does not have.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of random directions.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the norms into this .svg file.")
@load_options
@precision_option
@json_option
def command(
    file: Path,
    data: tuple[str, ...],
    plot: Path | None,
    options: dict[str, Any],
    precision: str | None,
    skip_unknown: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Show how much of the past the model in FILE uses, on real input.

    A file of --data holds the model's input along time, or the inputs of single calls stacked along an additional first
    axis. The report has three parts: the norms of the derivatives with respect to earlier states and frames, the
    half-lives of the units, and the warm-up. The warm-up is for input that is cut into chunks, which run separately:
    it is the number of frames to run ahead of each chunk so that its outputs differ from those of an uncut run by at
    most the bound. Half of the data predicts the warm-up, and the other half checks the prediction. Norms and
    half-lives are computed in float64.

    The exit status is 1 if the check fails.
    """
    from fastgru.learn import memory

    if plot is not None:
        from fastgru.bench.plots import check_matplotlib

        check_output(plot, (".svg",))
        check_matplotlib()
    with progress(f"Following what {file.name} remembers") as tell:
        model = fastgru.load(file, precision=precision, **options)
        arrays = _arrays(data, model.graph, skip_unknown)
        found = memory(model, arrays, progress=lambda text: tell(f"Memory of {file.name}, {text}"), **asked)
    if plot is not None:
        _draw(found, plot)
    whole = {"source": str(file), **found.to_dict(), "plot": None if plot is None else str(plot)}
    show(whole, lambda: _print(found, file, plot, asked["near"]), as_json=as_json)
    if found.warm_up.held_out is not None and not found.warm_up.held_out.holds:
        raise click.exceptions.Exit(1)


def _arrays(data: tuple[str, ...], graph: Graph, skip_unknown: bool) -> dict[str, Any]:
    """Return the inputs by name. A text becomes the ids of its characters, in a batch of one row."""

    def read(path: Path) -> dict[str, Array]:
        return {"": _ids(path, graph, skip_unknown)} if path.suffix.lower() == ".txt" else read_arrays(path)

    named = name_inputs("--data", data, graph.inputs, graph.states, read)
    specs = {spec.name: spec for spec in graph.inputs}
    for name, array in named.items():
        is_float = "float" in specs[name].dtype
        if is_float and array.dtype.kind in "iu":
            named[name] = array.astype(np.float32)
        elif not is_float and array.dtype.kind == "f" and np.array_equal(array, np.rint(array)):
            named[name] = array.astype(np.int64)
    return named


def _ids(path: Path, graph: Graph, skip_unknown: bool) -> Array:
    ids, _ = read_text(path, read_alphabet(graph.meta.get("alphabet"), ".npy"), skip_unknown=skip_unknown)
    if not len(ids):
        raise DataError(f"{path}: the file has no character of the model's alphabet")
    return ids.astype(np.int64)


def _draw(found: "Memory", plot: Path) -> None:
    from fastgru.bench.plots import Series, line_chart, standalone

    lines = []
    for name, colour, influence in (("dh_T/dh_(T-k)", 0, found.of_states), ("dy_T/dx_(T-k)", 1, found.of_frames)):
        if influence is not None:
            for word, values, dashed in (("mean", influence.mean, False), ("largest", influence.largest, True)):
                points = tuple((float(k), v) for k, v in zip(influence.k, values, strict=True) if v > 0)
                lines.append(Series(f"{name}, {word}", colour, points, dashed))
    chart = line_chart(
        lines, title="How much a state and a frame matter k frames later", x_label="frames back (k)", y_label="norm"
    )
    if not chart:
        raise DataError("every norm is 0: there is nothing to plot")
    plot.write_text(standalone(chart, _COLOURS, _WIDTH), encoding="utf-8")


def _print(found: "Memory", file: Path, plot: Path | None, near: float) -> None:
    console = stdout()
    much = f"{counted(found.frames, 'frame')} in {counted(found.rows, 'row')}, {counted(found.states, 'number')}"
    say(f"{file}: {much} of state")
    _print_norms(console, found)
    grown = found.growth
    halves = "" if np.isinf(grown.half_life) else f", so that it halves every {_steps(grown.half_life)} frames"
    say(
        f"A small difference between two states {grown.verdict}. Each frame multiplies it by {grown.mean:.4f}"
        f" ({grown.least:.4f} to {grown.most:.4f} over 32 frames){halves}."
    )
    _print_layers(console, found, near)
    _print_warm_up(console, found)
    if plot is not None:
        say(f"{plot}: {plot.stat().st_size:,} bytes")


def _print_norms(console: Console, found: "Memory") -> None:
    columns = ("k", "dh_T/dh_(T-k)", "largest h", "dy_T/dx_(T-k)", "largest y")
    table = plain_table(*columns, right=columns)
    states, frames = found.of_states, found.of_frames
    last = states.k[-1]
    chosen = {min(states.k, key=lambda k, wanted=wanted: abs(k - wanted)) for wanted in _SHOWN if wanted <= last}  # type: ignore[misc]
    for i, k in enumerate(states.k):
        if k in {*chosen, last}:
            of_y = ("-", "-") if frames is None else (f"{frames.mean[i]:.3g}", f"{frames.largest[i]:.3g}")
            table.add_row(str(k), f"{states.mean[i]:.3g}", f"{states.largest[i]:.3g}", *of_y)
    console.print(table)
    meanings = {
        "dh_T/dh_(T-k)": f"how much a state depends on that k frames earlier: the {states.norm} of the derivative",
        "largest h": "the largest of these norms, over several T; the column before has their mean",
    }
    if frames is not None:
        meanings["dy_T/dx_(T-k)"] = f"how much an output depends on the input k frames earlier: the {frames.norm}"
    console.print(legend(meanings.items(), console.width))
    if frames is None:
        say("There is no derivative by the input, because no input is of floats or embedded.")


def _print_layers(console: Console, found: "Memory", near: float) -> None:
    gates = ("r at 0", "r at 1", "z at 0", "z at 1")
    halves = ("half-life by z", "longest by z", "half-life", "longest")
    columns = ("layer", "along", "units", *gates, *halves, "dead", "saturated")
    rows = []
    for layer in found.layers:
        shares = [f"{layer.gates[g][i]:.0%}" for g in "rz" for i in (0, 2)]
        kept = [_steps(float(f(a))) for a in (layer.half_life_by_gate, layer.half_life) for f in (np.median, np.max)]
        name = layer.name if layer.direction == "forward" else f"{layer.name} backward"
        counts = [str(len(units)) if units else "-" for units in (layer.dead, layer.saturated)]
        rows.append((name, layer.along, str(layer.units), *shares, *kept, *counts))
    spare = ("units", "longest by z", "along", "r at 0", "r at 1")
    console.print(plain_table(*columns, rows=rows, right=columns[2:], names=("layer",), spare=spare))
    meanings = {
        "r at 0, z at 1": f"the share of the values of a gate that are below {near:g}, or above {1 - near:g}",
        "half-life": "the steps after which half of a state is left, the median of all units; >: longer than followed",
        "by z": "the same, by the update gate alone",
        "longest": "the longest half-life of a unit",
        "dead": "the number of units whose state hardly moves",
        "saturated": "the number of units whose candidate is flat in nearly every step",
    }
    console.print(legend(meanings.items(), console.width))
    for name, why in found.skipped.items():
        say(f"{name} is not in the table: {why}")


def _print_warm_up(console: Console, found: "Memory") -> None:
    warm, held = found.warm_up, found.warm_up.held_out
    first = f"{counted(warm.chunks, 'chunk')} needed {warm.median:.0f} frames (median), {warm.longest:,} at most"
    if warm.frames is None:
        console.print(Text(f"Warm-up: more than {warm.horizon:,} frames", style="bold"))
        say(
            f"After {warm.horizon:,} frames, chunks still differed by more than a quarter of --bound {warm.bound:g},"
            " which is what a prediction needs: give more data, or a larger --bound or --horizon."
        )
        return
    console.print(Text(f"Warm-up: {counted(warm.frames, 'frame')}", style="bold"))
    say(
        f"Predicted for a bound of {warm.bound:g} of the largest output, with a margin: {first};"
        f" 1 in {1 / warm.risk:,.0f} may need more."
    )
    if held is None:
        say("Not checked: the held-out half of the data is shorter. Give more data.")
    else:
        word = Text("holds", style="green") if held.holds else Text("does not hold", style="bold red")
        over = f"{counted(held.chunks, 'chunk')}, {counted(held.frames, 'frame')} compared"
        console.print(Text("It ").append(word).append(f" on held-out input: {over}, error {held.largest:.2g} at most."))


def _steps(count: float) -> str:
    return ">" if np.isinf(count) else f"{count:.1f}" if count < 100 else f"{count:,.0f}"
