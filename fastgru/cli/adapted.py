"""The results of `fastgru adapt`: as text for people, as data for programs, and as metadata in the file."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from fastgru.graph import Graph
from fastgru.terminal import counted, print_facts, stdout, time_of

if TYPE_CHECKING:
    from fastgru.learn import Fit

__all__ = ["UNIT", "figures_of", "named", "number_of", "print_adapted"]

UNIT: Final = " bits a character"  # of the loss on a text


def number_of(loss: float, as_text: bool) -> str:
    """Return a loss as text, in bits for a text model."""
    return f"{loss / math.log(2):.4f}" if as_text else f"{loss:.5g}"


def figures_of(done: "Fit[Graph]", facts: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of steps and epochs, and the losses before and after."""
    held = [step.held_out for step in done.history if step.held_out is not None]
    after = None if done.before is None else min([done.before, *held])
    found: dict[str, Any] = {
        "steps_done": len(done.history), "epochs_done": done.history[-1].epoch, "best_epoch": done.best_epoch,
        "first_loss": done.history[0].loss, "last_loss": done.history[-1].loss, **_epochs_of(done),
        "held_out_before": done.before, "held_out_after": after,
    }  # fmt: skip
    if "characters" in facts and done.before is not None and after is not None:
        found |= {"bits_before": done.before / math.log(2), "bits_after": after / math.log(2)}
    return found


def _epochs_of(done: "Fit[Graph]") -> dict[str, Any]:
    """Return the mean losses of the first and the last complete epoch: unlike two steps, they cover the same data."""
    losses: dict[int, list[float]] = {}
    for step in done.history:
        losses.setdefault(step.epoch, []).append(step.loss)
    first, *others = losses
    whole = [epoch for epoch in others if len(losses[epoch]) == len(losses[first])]
    if not whole:
        return {"last_whole_epoch": None, "first_epoch_loss": None, "last_epoch_loss": None}
    means = {epoch: math.fsum(losses[epoch]) / len(losses[epoch]) for epoch in (first, whole[-1])}
    return {"last_whole_epoch": whole[-1], "first_epoch_loss": means[first], "last_epoch_loss": means[whole[-1]]}


def named(done: "Fit[Graph]", data: Path, facts: dict[str, Any], file: Path) -> Graph:
    """Return the graph with metadata about the adaptation."""
    figures = figures_of(done, facts)
    meta = {name: text for name, text in done.net.meta.items() if name != "bits_per_character"}
    meta["adapted"] = f"{os.path.basename(file)} to {os.path.basename(data)}, {len(done.history)} steps"
    if "bits_after" in figures:
        meta["bits_per_character"] = f"{figures['bits_after']:.3f}"
    return replace(done.net, meta=meta)


def print_adapted(found: dict[str, Any]) -> None:
    """Print the result for people."""
    console, as_text = stdout(), "characters" in found
    console.print(Text(f"{found['output']}: {found['source']} adapted to {found['data']}", style="bold"))
    lines: dict[str, str | Text] = {}
    if as_text:
        skipped = f"; {counted(found['skipped'], 'unknown character')} left out" if found["skipped"] else ""
        lines["text"] = f"{counted(found['characters'], 'character')} in {counted(found['rows'], 'row')}{skipped}"
    else:
        lines["data"] = f"{counted(found['rows'], 'row')} of {counted(found['steps'], 'step')}"
    unit = UNIT if as_text else ""
    losses = {name: number_of(v, as_text) for name, v in found.items() if name.endswith("_loss") and v is not None}
    if found["last_whole_epoch"] is not None:
        first, last = losses["first_epoch_loss"], losses["last_epoch_loss"]
        lines["loss"] = f"{found['loss']}: {first}{unit} in epoch 1, {last} in epoch {found['last_whole_epoch']}"
    else:
        first, last = losses["first_loss"], losses["last_loss"]
        steps = f"{first}{unit} in step 1, {last} in step {found['steps_done']}"
        lines["loss"] = f"{found['loss']}: {steps}; each step sees other data"
    lines["held out"], best = "nothing", ""
    if found["held_out_before"] is not None:
        before, after = found["held_out_before"], found["held_out_after"]
        change = f", {1 - after / before:.1%} less" if before > 0 and after < before else ""
        lines["held out"] = f"{number_of(before, as_text)}{unit} before, {number_of(after, as_text)} now{change}"
        none = "no epoch was better than the model before, which was saved as it is"
        best = f"; epoch {found['best_epoch']} was the best" if found["best_epoch"] else f"; {none}"
    much = f"{counted(found['steps_done'], 'step')} in {counted(found['epochs_done'], 'epoch')}"
    lines["steps"] = f"{much}, {time_of(found['seconds'])}{best}"
    if found["resumed"]:
        lines["resumed"] = "from the checkpoint of an earlier run"
    lines["learned"] = ", ".join(found["trained"])
    if not found["native"]:
        lines["slow"] = "NumPy computed the layers that have no native gradient"
    print_facts(console, lines, least=8)
