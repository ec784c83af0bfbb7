"""What `fastgru adapt` tells of what it has made, to people, to programs and in the file."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from fastgru.graph import Graph
from fastgru.terminal import counted, print_facts, stdout, time_of

if TYPE_CHECKING:
    from fastgru.learn import Fit

__all__ = ["figures_of", "named", "print_adapted", "value_of"]


def value_of(loss: float, as_text: bool) -> str:
    """A loss, of a text in bits a character."""
    return f"{loss / math.log(2):.4f} bits a character" if as_text else f"{loss:.5g}"


def figures_of(done: "Fit[Graph]", facts: dict[str, Any]) -> dict[str, Any]:
    """The steps, and the losses before and after."""
    held = [step.held_out for step in done.history if step.held_out is not None]
    after = None if done.before is None else min([done.before, *held])
    found: dict[str, Any] = {
        "steps_done": len(done.history), "epochs_done": done.history[-1].epoch, "best_epoch": done.best_epoch,
        "first_loss": done.history[0].loss, "last_loss": done.history[-1].loss,
        "held_out_before": done.before, "held_out_after": after,
    }  # fmt: skip
    if "characters" in facts and done.before is not None and after is not None:
        found |= {"bits_before": done.before / math.log(2), "bits_after": after / math.log(2)}
    return found


def named(done: "Fit[Graph]", data: Path, facts: dict[str, Any], file: Path) -> Graph:
    """The graph, whose metadata tell what it has become."""
    figures = figures_of(done, facts)
    meta = {name: text for name, text in done.net.meta.items() if name != "bits_per_character"}
    meta["adapted"] = f"{os.path.basename(file)} to {os.path.basename(data)}, {len(done.history)} steps"
    if "bits_after" in figures:
        meta["bits_per_character"] = f"{figures['bits_after']:.3f}"
    return replace(done.net, meta=meta)


def print_adapted(found: dict[str, Any]) -> None:
    """Lines for people."""
    console, as_text = stdout(), "characters" in found
    console.print(Text(f"{found['output']}: {found['source']} adapted to {found['data']}", style="bold"))
    lines: dict[str, str | Text] = {}
    if as_text:
        skipped = f"; {counted(found['skipped'], 'unknown character')} left out" if found["skipped"] else ""
        lines["text"] = f"{counted(found['characters'], 'character')} in {counted(found['rows'], 'row')}{skipped}"
    else:
        lines["data"] = f"{counted(found['rows'], 'row')} of {counted(found['steps'], 'step')}"
    first, last = value_of(found["first_loss"], as_text), value_of(found["last_loss"], as_text)
    lines["loss"] = f"{found['loss']}: {first} at first, {last} at last"
    lines["held out"], best = "nothing", ""
    if found["held_out_before"] is not None:
        before, after = found["held_out_before"], found["held_out_after"]
        change = f", {1 - after / before:.1%} less" if before > 0 and after < before else ""
        lines["held out"] = f"{value_of(before, as_text)} before, {value_of(after, as_text)} now{change}"
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
