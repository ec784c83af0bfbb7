"""`fastgru quantize`: gives a model low-precision weights, and shows what they cost and save."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from fastgru.cli.arrays import fit, name_inputs
from fastgru.cli.options import file_argument, json_option, load_options, show
from fastgru.cli.outputs import check_output
from fastgru.graph import Graph
from fastgru.load import load_graph
from fastgru.precisions import LOWP
from fastgru.terminal import bars, bytes_of, counted, legend, plain_table, progress, stdout, time_of

if TYPE_CHECKING:
    from fastgru.quantization import Errors, QuantizeReport

__all__ = ["command"]

_SHOWN = 20
_LEGEND = {
    "largest error": "the largest difference from float32; mean is that of all differences",
    "below": "by how many decibels the differences are below the values in float32, from their mean squares",
    "alone": "the largest error of an output if only this node has the precision, relative to values above 1",
    "at most": "the largest error that --max-error allows",
    "by step": "the largest error at each step of the longest sequence",
    "drift": "the mean error of the last tenth of the steps, divided by that of the second tenth",
    "kept back": "precisions that the bounds do not allow, and what each would save alone",
}
_BOUND = click.FloatRange(min=0, min_open=True)


@click.command("quantize")
@file_argument
@click.option(
    "--precision",
    type=click.Choice((*LOWP, "auto")),
    default="int8",
    show_default=True,
    help="The precision of the weights.",
)
@click.option(
    "--keep", multiple=True, metavar="NODE", help="Leave this node in float32. Repeatable; not allowed with auto."
)
@click.option(
    "--data", multiple=True, metavar="[NAME=]FILE", help="Use these inputs instead of random ones. Repeatable."
)
@click.option(
    "--max-error",
    type=_BOUND,
    help="The largest difference that is allowed. If the values of an output are larger than 1, it is relative to them."
    "  [default: 0.02 with auto]",
)
@click.option("--min-db", type=float, help="How many decibels below an output the difference must be, at least.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of the random inputs.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Save as this .safetensors file.")
@click.option(
    "--force", is_flag=True, help="Overwrite the output if it exists, and save it even if the bounds are not met."
)
@load_options
@json_option
def command(
    file: Path,
    precision: str,
    keep: tuple[str, ...],
    data: tuple[str, ...],
    output: Path | None,
    force: bool,
    options: dict[str, Any],
    as_json: bool,
    **bounds: Any,
) -> None:
    """Give the model in FILE weights of low precision, and show how far each layer and output moves from float32.

    A layer gets weights of the precision that you choose if it has kernels for it. With auto, as many weights as the
    bounds allow become int8, then as many of the others as possible become bfloat16. The rest stay in float32, as do
    all weights with so few elements that int8 or bfloat16 makes them faster on no CPU.

    Errors on random inputs are only a rough guide: give representative inputs with --data, as for `fastgru run`. For
    several calls, stack their inputs along an additional first axis. Activations are scaled at run time, so nothing has
    to be calibrated.

    -o saves the model with these weights, and `fastgru.load` runs it as it was measured.

    The exit status is 0 if every output is within the bounds. It is 1 if one is not, or if the bounds do not let auto
    make any weight smaller. Then nothing is saved, and the command prints bounds that can be met.
    """
    from fastgru.quantization import quantize

    if output is not None:
        check_output(output, (".safetensors",), overwrite=force)
    if keep and precision == "auto":
        raise click.UsageError("--keep: auto decides by itself what stays in float32")
    graph = load_graph(file, **options)
    arrays = _data(data, graph) if data else None
    asked: Any = {"*": precision, **dict.fromkeys(keep, "float32")} if keep else precision
    with progress(f"Measuring {file} with weights of low precision"):
        report = quantize(graph, precision=asked, data=arrays, **bounds)
    saved = output if report.holds or force else None
    if saved is not None:
        report.model.save(saved)
    whole = {**report.to_dict(), "source": str(file), "saved": None if saved is None else str(saved)}
    show(whole, lambda: _print(report, file, saved), as_json=as_json)
    if not report.holds:
        raise click.exceptions.Exit(1)


def _data(options: tuple[str, ...], graph: Graph) -> dict[str, NDArray[Any]]:
    named = name_inputs("--data", options, graph.inputs, graph.states)
    specs = {spec.name: spec for spec in graph.inputs}
    return {name: _fit_calls(array, specs[name], graph) for name, array in named.items()}


def _fit_calls(array: NDArray[Any], spec: Any, graph: Graph) -> NDArray[Any]:
    """Fit each call of an array that holds several calls, or else the array."""
    if spec.shape is not None and array.ndim == len(spec.shape) + 1 and len(array):
        return np.stack([fit(call, spec, graph) for call in array])
    fitted: NDArray[Any] = fit(array, spec, graph)
    return fitted


def _print(report: "QuantizeReport", file: Path, saved: Path | None) -> None:
    console = stdout()
    console.print(Text(str(file), style="bold"), Text(f"in {report.precision}; inputs: {'; '.join(report.cases)}"))
    _print_layers(console, report)
    _print_outputs(console, report)
    _print_kept_back(console, report)
    console.print(legend(_LEGEND.items(), console.width))
    for t in report.timings:
        ratio = t.before_s / t.after_s if t.after_s else 1.0
        console.print(
            Text(
                f"{t.label}: {time_of(t.before_s)} a call before, {time_of(t.after_s)} now ({ratio:.2f} times as fast)"
            )
        )
    share = report.bytes_after / max(report.bytes_before, 1)
    sizes = f"{bytes_of(report.bytes_before)} of constants in float32, {bytes_of(report.bytes_after)} now ({share:.0%})"
    console.print(Text(f"{sizes}; {len(report.kept)} of {counted(len(report.layers), 'node')} in float32"))
    if report.max_error is None and report.min_db is None:
        console.print(Text("No bound was given: --max-error, --min-db.", style="dim"))
    elif report.holds:
        console.print(Text("Every output is within the bounds.", style="green"))
        if len(report.kept) == len(report.layers):
            console.print(
                Text("No weight is smaller than before: the column why says the reasons.", style="bold yellow"),
                Text("--precision int8 makes weights smaller even if that makes no CPU faster."),
            )
    else:
        fault = "No weight can be smaller within the bounds" if report.is_whole else "The outputs are beyond the bounds"
        console.print(Text(f"{fault}{', and nothing is saved' if saved is None else ''}.", style="bold red"))
        asked = " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in report.would_do.items())
        console.print(Text(f"This would do: {asked}" if asked else "No bound would do: an output is not finite."))
    if saved is not None:
        console.print(Text(f"{saved}: {bytes_of(saved.stat().st_size)}"))


def _print_layers(console: Console, report: "QuantizeReport") -> None:
    columns = ("node", "op", "outputs", "inputs", "weights", "bytes", "largest error", "mean", "below", "alone", "why")
    rows: list[tuple[str | Text, ...]] = [
        (
            Text(layer.name),
            layer.op,
            *(str(n) for n in layer.shape),
            layer.precision,
            bytes_of(layer.bytes_after),
            *_figures(layer.errors),
            "-" if layer.alone is None else f"{layer.alone:.1e}",
            Text(layer.why, style="dim"),
        )
        for layer in report.layers
    ]
    right = ("outputs", "inputs", "bytes", "largest error", "mean", "below", "alone")
    spare = ("alone", "outputs", "inputs", "mean", "bytes", "op", "below")
    table = plain_table(*columns, rows=rows, right=right, names=("node",), sentences=("why",), spare=spare)
    console.print(table)


def _print_kept_back(console: Console, report: "QuantizeReport") -> None:
    """Print what lower precisions would cost and save, each alone."""
    if not report.kept_back:
        return
    columns = ("kept back", "in", "error alone", "below", "bytes saved", "time saved")
    rows = [
        (
            Text(kept.name),
            kept.precision,
            f"{kept.error:.1e}",
            f"{kept.db:.1f} dB",
            bytes_of(kept.bytes_saved),
            "-" if kept.seconds_saved is None else f"{1e6 * kept.seconds_saved:.1f} us",
        )
        for kept in report.kept_back[:_SHOWN]
    ]
    console.print(plain_table(*columns, rows=rows, right=columns[2:], names=("kept back",), spare=("below",)))
    if len(report.kept_back) > _SHOWN:
        console.print(Text(f"and {len(report.kept_back) - _SHOWN} more, which --json has", style="dim"))


def _print_outputs(console: Console, report: "QuantizeReport") -> None:
    columns = ("output", "largest error", "mean", "below", "at most", "by step", "drift", "")
    right, spare = ("largest error", "mean", "below", "at most", "drift"), ("by step", "mean", "drift")
    table = plain_table(*columns, right=right, names=("output",), spare=spare)
    for output in report.outputs:
        errors, beyond = output.errors, output.counts and report.beyond(output.errors)
        bounded = output.counts and (report.max_error is not None or report.min_db is not None)
        table.add_row(
            Text(output.name),
            *_figures(errors),
            "-" if not output.counts or report.max_error is None else f"{report.max_error * max(1, errors.scale):.1e}",
            bars(errors.by_step, errors.largest),
            "-" if errors.drift is None else f"{errors.drift:.2f}",
            Text("beyond", style="bold red") if beyond else Text("within" if bounded else "", style="green"),
        )
    console.print(table)


def _figures(errors: "Errors") -> tuple[str, str, str]:
    return f"{errors.largest:.1e}", f"{errors.mean:.1e}", f"{errors.db:.1f} dB"
