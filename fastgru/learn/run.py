"""Run the steps of a fit, or continue an interrupted fit from its checkpoint."""

import math
import sys
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import LearningError, ShapeError
from fastgru.learn.checkpoint import read_checkpoint, write_checkpoint
from fastgru.learn.learner import Learner
from fastgru.learn.optimizers import Updates
from fastgru.learn.options import Asked, FitStep
from fastgru.learn.windows import Window

__all__ = ["Run"]


class Run:
    """The steps of a fit. A checkpoint has everything that the next step depends on."""

    mark = ""

    def __init__(
        self,
        learner: Learner,
        sets: list[Window],
        held: Window | None,
        names: list[str],
        updates: Updates,
        lr: Any,
        asked: Asked,
    ) -> None:
        self.learner, self.sets, self.held, self.names, self.updates, self.lr = learner, sets, held, names, updates, lr
        self.asked = asked
        self.each = [asked.window or len(w.x) for w in sets]
        self.counts = [-(-len(w.x) // n) for w, n in zip(sets, self.each, strict=True)]
        self.history: list[FitStep] = []
        self.states: list[Array] | None = None
        self.best = learner.weights.flat.copy()
        self.best_loss, self.best_epoch = math.inf, 0
        self.before: float | None = None
        self.steps = math.inf
        self._squares = np.zeros(len(learner.weights.flat))

    def all(self) -> None:
        """Run all steps, from the checkpoint or the beginning to the end."""
        asked, per_epoch = self.asked, sum(self.counts)
        self.steps = min(asked.epochs * per_epoch, asked.steps or math.inf)
        if not self._resume():
            self.before = self._held_out(0)
        while len(self.history) < self.steps and not self._waited_enough():
            done = len(self.history)
            epoch, at = divmod(done, per_epoch)
            order = np.random.default_rng([asked.seed, epoch]).permutation(len(self.sets))
            for k in order:
                if at < self.counts[k]:
                    break
                at -= self.counts[k]
            value = self._step(self.sets[k], at, self.each[k], done)
            ended = done + 1 in ((epoch + 1) * per_epoch, self.steps)
            held = self._held_out(epoch + 1) if ended else None
            self.history.append(FitStep(done + 1, int(self.steps), epoch + 1, value, held))
            try:
                self._tell()
            except BaseException:  # the caller's function may end the fit: the state is consistent here
                if asked.checkpoint is not None:
                    self._save()
                raise
            if asked.checkpoint is not None and (ended or (done + 1) % asked.checkpoint_steps == 0):
                self._save()
        if self.held is not None:
            self.learner.weights.flat[...] = self.best
        else:
            self.best_epoch = self.history[-1].epoch
        if asked.progress is True:
            print(file=sys.stderr)

    def _step(self, rows: Window, at: int, each: int, done: int) -> float:
        """Run one window and change the weights once. Return the mean loss."""
        total, count, self.states = self.learner.run(
            rows.cut(at * each, min((at + 1) * each, len(rows.x))), self.states if at else None, learn=True
        )
        rate = self.lr(done) if callable(self.lr) else self.lr
        if isinstance(rate, bool) or not isinstance(rate, int | float | np.number) or not 0 <= rate < math.inf:
            raise ShapeError(f"lr is {rate!r} at step {done}, expected a number of at least 0")
        value, norm = total / max(count, 1), self._norm()
        if not math.isfinite(value) or not math.isfinite(norm):
            raise LearningError(
                f"step {done + 1}: the loss is {value:g} and the norm of the gradients is {norm:g}; the network has not"
                " changed; use a smaller lr, or set clip_norm"
            )
        clip = self.asked.clip_norm
        scale = 1.0 if clip is None or norm <= clip else clip / norm
        if count:
            self.updates.step(done + 1, float(rate), self.asked.weight_decay, scale)
        return value

    def _norm(self) -> float:
        """Return the Euclidean norm of the gradients of all trained weights together."""
        total = 0.0
        for name in self.names:
            first, last = self.learner.weights.places[name]
            squares = self._squares[first:last]
            g = self.learner.weights.flat_gradient[first:last]
            np.multiply(g, g, out=squares, dtype=np.float64)
            total += float(squares.sum())
        return math.sqrt(total)

    def _held_out(self, epoch: int) -> float | None:
        if self.held is None:
            return None
        total, count, states = 0.0, 0, None
        each = self.asked.window or len(self.held.x)
        for first in range(0, len(self.held.x), each):
            some, counted, states = self.learner.run(self.held.cut(first, first + each), states, learn=False)
            total, count = total + some, count + counted
        value = total / max(count, 1)
        if value < self.best_loss:
            self.best_loss, self.best_epoch = value, epoch
            self.best[...] = self.learner.weights.flat
        return value

    def _waited_enough(self) -> bool:
        if self.asked.patience is None or not self.history or self.history[-1].held_out is None:
            return False
        return self.history[-1].epoch - self.best_epoch >= self.asked.patience

    def _tell(self) -> None:
        step = self.history[-1]
        if callable(self.asked.progress):
            self.asked.progress(step)
        elif self.asked.progress:
            held = "" if step.held_out is None else f", held out {step.held_out:.4f}"
            print(
                f"\rstep {step.step} of {step.steps}: loss {step.loss:.4f}{held}", end="", file=sys.stderr, flush=True
            )

    def _save(self) -> None:
        arrays = {"weights": self.learner.weights.flat, "best": self.best}
        arrays |= {f"optimizer.{name}": a for name, a in self.updates.state.items()}
        arrays |= {f"state.{k}": a for k, a in enumerate(self.states or [])}
        facts = {
            "fingerprint": self.mark,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "before": self.before,
            "history": self.history,
        }
        assert self.asked.checkpoint is not None
        write_checkpoint(self.asked.checkpoint, arrays, facts)

    def _resume(self) -> bool:
        found = None if self.asked.checkpoint is None else read_checkpoint(self.asked.checkpoint, self.mark)
        if found is None:
            return False
        arrays, facts = found
        self.learner.weights.flat[...] = arrays["weights"]
        self.best[...] = arrays["best"]
        for name, a in self.updates.state.items():
            a[...] = arrays[f"optimizer.{name}"]
        self.states = [arrays[f"state.{k}"] for k in range(sum(name.startswith("state.") for name in arrays))] or None
        self.best_loss, self.best_epoch = facts["best_loss"], facts["best_epoch"]
        self.before = facts["before"]
        self.history = [FitStep(*step)._replace(steps=int(self.steps)) for step in facts["history"]]
        return True
