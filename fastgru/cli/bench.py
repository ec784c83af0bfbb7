"""`fastgru bench`: how fast, beside the others and beside what the machine can do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from fastgru.cli.bench_runs import measure_model, measure_suite
from fastgru.cli.options import fallback_option
from fastgru.precisions import PRECISIONS

__all__ = ["command"]

# Those of `fastgru.bench.rivals.RIVALS` and `fastgru.bench.SUITES`, which cannot be imported without Numba.
_RIVALS = ("onnxruntime", "openvino", "torch")
_SUITES = ("quick", "full", "precision", "calls", "models", "steady")


def _names(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip() not in ("", "none")))
    if unknown := [name for name in names if name not in _RIVALS]:
        raise click.BadParameter(f"{', '.join(unknown)}: there are {', '.join(_RIVALS)}, and none", param=parameter)
    return names


def _precisions(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    names = () if text is None else tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in PRECISIONS]:
        raise click.BadParameter(f"{', '.join(unknown)}: there are {', '.join(PRECISIONS)}", param=parameter)
    return names


def _counts(_: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not words or not all(word.isdigit() and 1 <= int(word) <= 1024 for word in words):
        raise click.BadParameter(f"{text!r}: expected numbers of threads, as in 1,2", param=parameter)
    return tuple(sorted({int(word) for word in words}))


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("bench")
@click.argument("model", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--suite", type=click.Choice(_SUITES), default="quick", show_default=True, help="What is measured.")
@click.option(
    "--models-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --suite models: every ONNX file in this folder, too.",
)
@click.option("--case", "pattern", metavar="FILTER", help="Only cases with this in their name; wildcards are allowed.")
@click.option(
    "--rivals",
    callback=_names,
    help=f'Names, or "none".  [default: {",".join(_RIVALS)}; none with --against]',
)
@click.option(
    "--against",
    metavar="PYTHON",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An interpreter with another fastgru, which is one more rival: what is slower or faster than there?",
)
@click.option(
    "--fail-below",
    type=click.FloatRange(min=0, min_open=True),
    metavar="RATIO",
    help="With --against: exit 1 where the geometric mean is lower, or a cell is slower or cannot be compared.",
)
@click.option(
    "--threads", default="1", show_default=True, callback=_counts, metavar="N,N...", help="For ours and theirs."
)
@click.option(
    "--precision",
    "precisions",
    callback=_precisions,
    metavar="P,P...",
    help="Run the cases of the suite in each of these instead of their own.",
)
@click.option("--shape", "shapes", multiple=True, metavar="NAME=SIZE", help="A free dimension of MODEL; repeatable.")
@fallback_option
@click.option(
    "--rounds", type=click.IntRange(1, 1000), help="Turns of each contender.  [default: 9; 120 with --against]"
)
@click.option(
    "--turn-ms",
    type=click.FloatRange(0.1, 10_000),
    help="Length of a turn.  [default: 30; with --against 4, and 30 on several threads, with fewer rounds]",
)
@click.option("--gc/--no-gc", "collect", default=False, help="Leave the garbage collector on while timing.")
@click.option("--json", "json_path", type=_FILE, help="Write every figure as JSON.")
@click.option("--html", "html_path", type=_FILE, help="Write a page with plots.")
@click.option("--update-readme", type=_FILE, help="Replace the section on speed of this file.")
@click.option("--list", "only_list", is_flag=True, help="Print the names of the cases and measure nothing.")
def command(
    model: Path | None,
    suite: str,
    models_dir: Path | None,
    pattern: str | None,
    rivals: tuple[str, ...] | None,
    against: Path | None,
    fail_below: float | None,
    threads: tuple[int, ...],
    precisions: tuple[str, ...],
    shapes: tuple[str, ...],
    fallback: str | None,
    rounds: int | None,
    turn_ms: float | None,
    collect: bool,
    json_path: Path | None,
    html_path: Path | None,
    update_readme: Path | None,
    only_list: bool,
) -> None:
    """Measure a suite of GRUs or of whole networks, or the model in MODEL, ours and the rivals in turn.

    Outputs are compared before anything is timed. A rival runs in the fastest of its configurations; one that is not
    installed, or cannot run a case, is named. MODEL is run at --shape, free dimensions being 1 where nothing is said,
    beside the rivals that read its format; with --suite steady it is also told what a call allocates, and how memory
    grows over a million of them. --suite models measures networks around GRUs at the shape in which they are served:
    one row, one frame or one request.

    --against PYTHON adds the fastgru of another environment, both then in processes of their own. A cell is slower or
    faster where three repeats say so.

    Exit status 1 where ours fails, its outputs are not those of the float64 definition, or --fail-below is not met.
    """
    if fail_below is not None and against is None:
        raise click.UsageError("--fail-below is for --against")
    if against is not None and update_readme is not None:
        raise click.UsageError("--update-readme is for the figures beside the rivals, not for --against")
    if shapes and model is None:
        raise click.UsageError("--shape is for a MODEL")
    if fallback is not None and model is None:
        raise click.UsageError("--fallback is for a MODEL")
    if model is not None and (pattern is not None or only_list or precisions):
        raise click.UsageError("--case, --precision and --list are for a suite, not for a MODEL")
    if models_dir is not None and (model is not None or suite != "models"):
        raise click.UsageError("--models-dir is for --suite models")
    if precisions and suite == "models":
        raise click.UsageError("--precision is for the suites of GRUs; whole models run in float32")
    from fastgru.bench.against import failures
    from fastgru.bench.cases import SUITES, find_cases, in_precision
    from fastgru.bench.measure import AGAINST, Plan
    from fastgru.bench.model_suite import find_models, model_cases
    from fastgru.bench.page import render_page
    from fastgru.bench.readme import update
    from fastgru.bench.report import print_report
    from fastgru.bench.rivals.other import about_sides
    from fastgru.cli.console import stdout

    models = find_models(model_cases(models_dir), pattern) if suite == "models" else []
    cases = find_cases(SUITES.get(suite, ()), pattern)
    if precisions:
        cases = list(dict.fromkeys(in_precision(case, p) for case in cases for p in precisions))
    if only_list:
        for slug in (*(case.slug for case in models), *(case.slug for case in cases)):
            click.echo(slug)
        return
    if pattern is not None and not (models or cases):
        raise click.UsageError(f"--case {pattern}: no case of the suite {suite!r} matches; see --list")
    label = ", ".join([suite, *([pattern] if pattern is not None else []), *precisions])
    readme = None if update_readme is None else update_readme.read_text(encoding="utf-8")
    plan = replace(Plan() if against is None else AGAINST, collect=collect)
    if rounds is not None:
        plan = replace(plan, rounds=rounds)
    if turn_ms is not None:
        plan = replace(plan, turn_s=turn_ms / 1e3, rested_turn_s=None)
    if rivals is None:
        rivals = _RIVALS if against is None else ()
    sides = None if against is None else about_sides(against)
    result = (
        measure_model(model, suite, shapes, fallback, rivals, threads, plan, against)
        if model is not None
        else measure_suite(suite, cases, models, label, rivals, threads, plan, against)
    )
    result = replace(result, sides=sides)
    print_report(result, stdout())
    if json_path is not None:
        json_path.write_text(result.to_json(), encoding="utf-8")
    if html_path is not None:
        html_path.write_text(render_page(result), encoding="utf-8")
    if update_readme is not None and readme is not None:
        update_readme.write_text(update(readme, result), encoding="utf-8")
    # A suite may ask for threads that are not to be had; a MODEL that does not run is why one looks at the status.
    if fail_below is not None and failures(result, fail_below):
        raise click.exceptions.Exit(1)
    if any(row.trouble and (model is not None or not row.trouble.startswith("refused: ")) for row in result.rows):
        raise click.exceptions.Exit(1)
