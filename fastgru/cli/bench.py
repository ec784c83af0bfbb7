"""`fastgru bench`: measures fastgru next to its rivals and next to what the machine can do."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fastgru.cli.bench_request import RIVALS, Request
from fastgru.cli.bench_serving import Serving, serving_options
from fastgru.cli.options import load_options
from fastgru.cli.outputs import check_output
from fastgru.precisions import ASKED
from fastgru.terminal import stdout

__all__ = ["command"]

# The names in `fastgru.bench.SUITES`, whose import would need Numba.
_SUITES = ("quick", "full", "precision", "calls", "models", "steady")


def _some_of(known: Sequence[str], none: str = "") -> Callable[..., tuple[str, ...] | None]:
    """Return a callback that parses names separated by commas, without duplicates; None if the option is not given.

    none: the word for no names.
    """

    def chosen(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
        words = [] if text is None else [word.strip() for word in text.split(",")]
        names = tuple(dict.fromkeys(word for word in words if not none or word not in ("", none)))
        if unknown := [name for name in names if name not in known]:
            listed = ", ".join(known) + (f", and {none}" if none else "")
            raise click.BadParameter(f"{', '.join(unknown)}: there are {listed}", param=parameter)
        return None if text is None else names

    return chosen


def _counts(_: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not words or not all(word.isdigit() and 1 <= int(word) <= 1024 for word in words):
        raise click.BadParameter(f"{text!r}: expected numbers of threads, as in 1,2", param=parameter)
    return tuple(sorted({int(word) for word in words}))


class _Remembered(click.Command):
    """A command that keeps its arguments as they were typed, for the readers of its result."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


def _typed() -> str:
    """Return the command line, without the folders of the files in it."""
    words = click.get_current_context().meta[_ARGUMENTS]
    return shlex.join(["fastgru", "bench", *(Path(w).name or w if Path(w).parent.is_dir() else w for w in words)])


_ARGUMENTS = f"{__name__}.arguments"
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("bench", cls=_Remembered)
@click.argument("model", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--suite", type=click.Choice(_SUITES), default="quick", show_default=True, help="What to measure.")
@click.option(
    "--models-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --suite models: also measure every ONNX file in this folder.",
)
@click.option(
    "--case", "pattern", metavar="FILTER", help="Measure only cases whose names contain this; wildcards are allowed."
)
@click.option(
    "--rivals",
    callback=_some_of(RIVALS, "none"),
    help=f'The rivals, separated by commas, or "none".  [default: {",".join(RIVALS)}; none with --against]',
)
@click.option(
    "--against",
    metavar="PYTHON",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The interpreter of an environment whose fastgru is compared with this one.",
)
@click.option(
    "--fail-below",
    type=click.FloatRange(min=0, min_open=True),
    metavar="RATIO",
    help="With --against: exit with 1 if the geometric mean of the speed-ups is lower than this, or if a case is slower"
    " or cannot be compared.",
)
@click.option(
    "--threads",
    default="1",
    show_default=True,
    callback=_counts,
    metavar="N,N...",
    help="How many threads the contenders use; each number is measured.",
)
@click.option(
    "--spin-us",
    type=click.FloatRange(0, 10_000),
    default=0,
    show_default=True,
    help="With several threads: how many microseconds fastgru's threads stay awake after a call.",
)
@click.option(
    "--precision",
    "precisions",
    callback=_some_of(ASKED),
    metavar="P,P...",
    help="Run every case, or MODEL, in each of these precisions, instead of its own.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=SIZE",
    help="The size of a free dimension of MODEL, such as T=50, or the shape of an input, such as x=50x1x40 or"
    " x=50,1,40. With --serve, the shape of an input. Repeatable.",
)
@load_options
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    help="How many turns each contender gets.  [default: 9. With --against: 12 for each pair of processes]",
)
@click.option(
    "--turn-ms",
    type=click.FloatRange(0.1, 10_000),
    help="How long a turn takes.  [default: 30. With --against: 4 on one thread; 30, with fewer rounds, on several]",
)
@click.option(
    "--interval-ms",
    type=click.FloatRange(0.1, 10_000),
    help="With --suite steady: how often a call is due.  [default: 10]",
)
@click.option("--gc/--no-gc", "collect", default=False, help="Leave Python's garbage collector on, or turn it off.")
@click.option(
    "--json", "json_path", type=_FILE, help="Also write every figure to this file as JSON; with -, print only the JSON."
)
@click.option(
    "--html",
    "html_path",
    type=_FILE,
    help="Also write a page with plots. It needs matplotlib, which is in the extra `bench`.",
)
@click.option("--list", "only_list", is_flag=True, help="Print the names of the cases, and measure nothing.")
@serving_options
def command(
    json_path: Path | None, html_path: Path | None, only_list: bool, serving: Serving | None, **chosen: Any
) -> None:
    """Time fastgru next to ONNX Runtime, OpenVINO and PyTorch: on a suite of GRUs, on whole networks, or on MODEL.

    All outputs are compared before anything is timed; then the contenders take turns. Each rival runs in its fastest
    configuration. If a rival cannot run a case, the report gives the reason.

    MODEL runs on inputs of the shapes that --shape gives, next to the rivals that read its format. Free dimensions that
    you do not give are 1. --suite steady also measures what a call allocates, how long the slowest calls take, and
    whether memory grows. --suite models measures whole networks with GRUs, one row, frame or request at a time,
    as servers run them.

    --against PYTHON compares this fastgru with the one in another environment. Each runs in a process of its own. A
    case counts as faster or slower if three repeats agree.

    --serve URL measures only a server that speaks KServe V2, such as fastgru serve, under load. By default, each
    connection sends its next request when it has the answer to the previous one. With --rate, --sessions or --ramp,
    requests are due at fixed times, and latencies count from these times. Ctrl-C ends the run and shows the results so
    far.

    The exit status is 1 if fastgru fails, if its outputs differ from the float64 definition, or if --fail-below is not
    met. With --serve, it is 1 if a request ended in an error, if none was answered, or if the server could not
    sustain even the lowest step of a ramp.
    """
    for path in filter(None, (json_path, html_path)):
        check_output(path)
    if serving is not None:
        _load(serving, chosen["shapes"], json_path, html_path)
        return
    request = Request(**chosen)
    if only_list and request.model is not None:
        raise click.UsageError("--case and --list are for a suite, not for a MODEL")
    from fastgru.bench.against import failures
    from fastgru.bench.page import check_matplotlib, render_page
    from fastgru.bench.report import print_report

    if only_list:
        for case in request.cases:
            click.echo(case.slug)
        return
    if html_path is not None:
        check_matplotlib()
    result = replace(request.measure(), command=_typed())
    _report(json_path, result.to_json, lambda: print_report(result, stdout()))
    if html_path is not None:
        html_path.write_text(render_page(result), encoding="utf-8")
        click.echo(f"{html_path}: the report with its plots", err=True)
    # In a suite, a case may ask for more threads than there are, which is no failure. A MODEL that does not run is one.
    fails = request.fail_below is not None and failures(result, request.fail_below)
    wrong = [row for row in result.rows if row.trouble and (request.model or not row.trouble.startswith("refused: "))]
    if fails or wrong:
        raise click.exceptions.Exit(1)


def _report(json_path: Path | None, to_json: Callable[[], str], print_it: Callable[[], None]) -> None:
    """Print the report; if the file is -, print the JSON instead."""
    if json_path == Path("-"):
        click.echo(to_json())
        return
    print_it()
    if json_path is not None:
        json_path.write_text(to_json(), encoding="utf-8")


def _load(serving: Serving, shapes: tuple[str, ...], json_path: Path | None, html_path: Path | None) -> None:
    from fastgru.bench.plots import check_matplotlib
    from fastgru.bench.serving.page import render_serving
    from fastgru.bench.serving.report import print_serving

    if html_path is not None:
        check_matplotlib()
    result = serving.measure(shapes)
    _report(json_path, result.to_json, lambda: print_serving(result, stdout()))
    if html_path is not None:
        html_path.write_text(render_serving(result), encoding="utf-8")
    if result.errors_came:
        raise click.exceptions.Exit(1)
