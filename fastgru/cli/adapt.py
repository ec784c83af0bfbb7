"""`fastgru adapt`: trains a model on data, without a framework."""

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fastgru.cli.adapted import UNIT, figures_of, named, number_of, print_adapted
from fastgru.cli.biases import lone_biases
from fastgru.cli.options import file_argument, json_option, load_options, show
from fastgru.cli.outputs import check_output
from fastgru.graph import Graph
from fastgru.load import load_graph
from fastgru.terminal import progress, say

if TYPE_CHECKING:
    from fastgru.learn import Fit, FitStep

__all__ = ["command"]

_LOSSES: Final = (
    *("cross_entropy", "cross_entropy_of_logs", "cross_entropy_of_probabilities"),
    *("squared_error", "absolute_error"),
)
_RULES: Final = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
_COUNT = click.IntRange(min=1)


@click.command("adapt")
@file_argument
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An .npz file with the model's input and targets (and mask, lengths or reset), or a .txt file for a model that"
    " has an alphabet.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save as this .safetensors file.",
)
@click.option(
    "--train",
    multiple=True,
    metavar="NAMES",
    help="The names of the weights to train, separated by commas. A name that ends in a dot or a slash stands for all"
    " weights whose names begin with it. Repeatable.  [default: all]",
)
@click.option(
    "--loss",
    type=click.Choice(_LOSSES),
    help="The loss to minimise.  [default: squared_error for numbers; for classes the cross entropy that fits the"
    " model's last layer]",
)
@click.option(
    "--output-name",
    metavar="NAME",
    help="The output to compare with the targets, if the model has several outputs.",
)
@click.option(
    "--optimizer",
    type=click.Choice(list(_RULES)),
    default="adam",
    show_default=True,
    help="The optimizer, as in torch.",
)
@click.option("--lr", type=click.FloatRange(min=0), default=1e-3, show_default=True, help="The learning rate.")
@click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), help="The momentum of sgd.  [default: 0]")
@click.option(
    "--weight-decay",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="The weight decay, as in torch.",
)
@click.option(
    "--clip-norm",
    type=click.FloatRange(min=0),
    help="Scale the gradients down if the norm of all of them together is larger than this.",
)
@click.option("--epochs", type=_COUNT, default=10, show_default=True, help="How often to go through the data.")
@click.option("--steps", type=_COUNT, help="Stop after this many steps, even within an epoch.")
@click.option(
    "--batch",
    type=_COUNT,
    help="The number of rows in a batch; a text is cut into this many.  [default: 32, or 16 for a text]",
)
@click.option(
    "--window",
    type=_COUNT,
    help="The number of steps through which gradients go back.  [default: all, or 96 characters of a text]",
)
@click.option(
    "--held-out",
    default="0.1",
    show_default=True,
    metavar="SHARE|FILE",
    help="Data to measure the loss on, and not to learn from: a share of the data, taken from its end, or a file"
    " like that of --data; 0 for none.",
)
@click.option("--patience", type=_COUNT, help="Stop after this many epochs without a better held-out loss.")
@click.option("--skip-unknown", is_flag=True, help="Leave out characters that the alphabet does not have.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of the order of batches."
)
@click.option("--threads", type=_COUNT, default=1, show_default=True, help="The number of cores to use.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="The precision of the computation.",
)
@click.option(
    "--gate-memory",
    type=_COUNT,
    metavar="MIB",
    help="The memory for the gates that the backward pass needs. Gates that do not fit are computed again.",
)
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file from which an interrupted run continues. A file that you name is kept when the run ends."
    "  [default: OUTPUT.checkpoint, which is removed when the run ends]",
)
@click.option("--restart", is_flag=True, help="Start over: discard the checkpoint of an earlier run.")
@click.option("--force", is_flag=True, help="Overwrite OUTPUT if it exists.")
@load_options
@json_option
def command(
    file: Path,
    data: Path,
    output: Path,
    options: dict[str, Any],
    as_json: bool,
    restart: bool,
    force: bool,
    **asked: Any,
) -> None:
    """Adapt the model in FILE to data on this CPU. Use it to train the last layer of a model, or a whole small model.

    The weights of the epoch with the smallest held-out loss are saved. Weights that --train does not name stay the
    same, to the bit. The same data, options and seed give the same file.

    After an interruption, run the same command again to continue.
    """
    from fastgru.graphfile import write_graph
    from fastgru.learn import fit

    check_output(output, (".safetensors",), overwrite=force)
    checkpoint = asked.pop("checkpoint")
    if checkpoint is not None:
        check_output(checkpoint)
    place = checkpoint or output.with_name(f"{output.name}.checkpoint")
    began = time.monotonic()
    with progress(f"Reading {file} and {data}") as tell:
        graph = load_graph(file, **options)
        arguments, facts, loss = _arguments(graph, data, asked)
        if restart:
            place.unlink(missing_ok=True)
        resumed = place.exists()
        tell(f"Adapting {file} to {data}")
        with _until_a_step_is_whole(place, tell, as_text="characters" in facts) as hear:
            done: Fit[Graph] = fit(graph, loss=loss, progress=hear, checkpoint=place, **arguments)
    write_graph(named(done, data, facts, file), output)
    if checkpoint is None:
        place.unlink(missing_ok=True)
    found = {
        "output": str(output), "source": str(file), "data": str(data), "loss": loss, **figures_of(done, facts),
        "resumed": resumed, "native": done.native, **facts, "trained": list(done.trained),
        "seconds": time.monotonic() - began,
    }  # fmt: skip
    show(found, lambda: print_adapted(found), as_json=as_json)


def _arguments(graph: Graph, data: Path, asked: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the arguments of `fit`, facts about the data, and the name of the loss."""
    from fastgru import learn
    from fastgru.cli.forms import Cutting
    from fastgru.cli.pairs import read_pairs
    from fastgru.learn.network import output_of

    momentum, name = asked["momentum"], asked["optimizer"]
    if momentum is not None and name != "sgd":
        raise click.UsageError(f"--momentum: {name} has none; --optimizer sgd takes it")
    rule = getattr(learn, _RULES[name])(**({} if momentum is None else {"momentum": momentum}))
    share, held = _held_out(asked["held_out"])
    window = asked["window"] or (96 if data.suffix.lower() == ".txt" else None)
    cutting = Cutting(asked["batch"], window, share, asked["skip_unknown"])
    pairs = read_pairs(data, held, graph, asked["output_name"], cutting)
    if asked["patience"] is not None and pairs.held_out is None:
        raise click.UsageError("--patience waits for the held-out loss, and --held-out 0 holds nothing out")
    kept = ("lr", "weight_decay", "clip_norm", "epochs", "steps", "patience", "seed", "threads", "dtype")
    arguments = {each: asked[each] for each in kept if asked[each] is not None}
    arguments |= {"data": pairs.data, "reset": pairs.reset, "optimizer": rule, "train": _names(asked["train"])}
    for beginning, bias, matrices in lone_biases(graph, arguments["train"] or ()):
        warnings.warn(
            f"--train {beginning} trains {bias} without its matrix, which has the name {' or '.join(matrices)}; name"
            f" the matrix, too: --train {beginning},{','.join(matrices)}",
            stacklevel=2,
        )
    more = {"held_out": pairs.held_out, "window": window, "output": asked["output_name"]}
    if asked["gate_memory"] is not None:
        more["gate_bytes"] = asked["gate_memory"] << 20
    arguments |= {each: value for each, value in more.items() if value is not None}
    loss = asked["loss"] or _loss(graph, output_of(graph, asked["output_name"]), classes=pairs.classes)
    return arguments, pairs.facts, loss


def _held_out(text: str) -> tuple[float, Path | None]:
    try:
        share = float(text)
    except ValueError:
        if not Path(text).is_file():
            raise click.UsageError(
                f"--held-out {text}: there is no such file, and it is no share of the data"
            ) from None
        return 0.0, Path(text)
    if not 0 <= share < 1:
        raise click.UsageError(f"--held-out {text}: expected a share from 0 to less than 1, or a file")
    return share, None


def _names(given: tuple[str, ...]) -> list[str] | None:
    names = [name for text in given for name in text.split(",") if name]
    if given and not names:
        raise click.UsageError("--train: expected names of weights")
    return names or None


def _loss(graph: Graph, output: str, *, classes: bool) -> str:
    last = next((node.op for node in graph.nodes if output in node.outputs), "")
    kinds = {"softmax": "cross_entropy_of_probabilities", "log_softmax": "cross_entropy_of_logs"}
    return kinds.get(last, "cross_entropy") if classes else "squared_error"


@contextmanager
def _until_a_step_is_whole(
    place: Path, tell: Callable[[str], None], *, as_text: bool
) -> Iterator[Callable[["FitStep"], None]]:
    """Yield a function that is told of every step.

    Ctrl-C ends the fit after the current step and prints how to continue. A second Ctrl-C ends it at once.
    """
    asked = threading.Event()

    def interrupt(*_: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    last: list[FitStep] = []
    held: list[str] = []

    def hear(step: "FitStep") -> None:
        last[:] = [step]
        if step.held_out is not None:
            held[:] = [f", held out {number_of(step.held_out, as_text)}"]
        losses = f"loss {number_of(step.loss, as_text)}{''.join(held)}{UNIT if as_text else ''}"
        tell(f"Step {step.step:,} of {step.steps:,}, epoch {step.epoch}: {losses}")
        if asked.is_set():
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, interrupt) if main else None
    try:
        yield hear
    except KeyboardInterrupt:
        if place.exists():
            at = f" after step {last[0].step:,} of {last[0].steps:,}" if last else ""
            say(f"fastgru: interrupted{at}; run the same command again to continue from {place}", err=True)
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
