"""Trains the model that `fastgru demo` runs: a character-level language model on the King James Bible.

    apt-get install bible-kjv bible-kjv-text
    python tools/train_demo.py train --work DIR      # needs torch; checkpoints in DIR, may be stopped and resumed
    python tools/train_demo.py train --work DIR --with fastgru      # the same without torch
    python tools/train_demo.py export --work DIR     # needs torch and fastgru; writes fastgru/data/

The network is embedding, two GRU layers, linear, with torch's own modules and conventions. Both libraries start with
the same weights and read the same batches. The text comes from the `bible` command of the Debian package bible-kjv,
with verse references removed and one chapter per paragraph. One chapter in twenty is held out of training; bits per
character are measured only on those chapters.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
from demo_text import (
    BATCH,
    HIDDEN_SIZE,
    NUM_LAYERS,
    WINDOW,
    Corpus,
    bits_of_graph,
    build_graph,
    first_weights,
    read_batches,
    read_corpus,
)

import fastgru
from fastgru import learn

PEAK_RATE, FINAL_RATE, WARMUP_STEPS = 4e-3, 5e-5, 200
WEIGHT_DECAY, CLIP_NORM = 0.01, 1.0
SHOWN_EVERY = 500


def learning_rate(step: int, steps: int) -> float:
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return FINAL_RATE + (PEAK_RATE - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def train_with_torch(work: Path, corpus: Corpus, *, steps: int, seed: int) -> None:
    import torch
    from demo_model import CharModel, bits_per_character
    from torch import nn

    torch.set_num_threads(1)
    model = CharModel(len(corpus.alphabet))
    first = {name: torch.from_numpy(a) for name, a in first_weights(len(corpus.alphabet), seed).items()}
    model.load_state_dict(first)
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    done = 0
    latest = work / "latest.pt"
    if latest.exists():
        saved = torch.load(latest, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        done = saved["step"]
    batches, cold = read_batches(corpus.train, steps, seed)
    h = torch.zeros(NUM_LAYERS, BATCH, HIDDEN_SIZE)
    started, shown_loss = time.perf_counter(), 0.0
    for step in range(done, steps):
        chunk = torch.from_numpy(batches[step])
        h = torch.where(torch.from_numpy(cold[step])[None, :, None], torch.zeros(()), h)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps)
        logits, h = model(chunk[:, :-1], h.detach())
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimiser.step()
        shown_loss = loss.item() if step == done else 0.98 * shown_loss + 0.02 * loss.item()
        if (step + 1) % SHOWN_EVERY == 0 or step + 1 == steps:
            bits = bits_per_character(model, corpus.held_out)
            show(step + 1, shown_loss, time.perf_counter() - started, bits)
            saved = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1, "bits": bits}
            library = f"torch {torch.__version__.split('+')[0]}"
            torch.save({**saved, "seed": seed, "alphabet": corpus.alphabet, "library": library}, latest)


def train_with_fastgru(work: Path, corpus: Corpus, *, steps: int, seed: int) -> None:
    """Train in one epoch over a text that has the length of all steps."""
    batches, cold = read_batches(corpus.train, steps, seed)
    x, targets = (a.swapaxes(0, 1).reshape(BATCH, steps * WINDOW) for a in (batches[..., :-1], batches[..., 1:]))
    reset = np.zeros((BATCH, steps * WINDOW), bool)
    reset[:, ::WINDOW] = cold.T
    weights = first_weights(len(corpus.alphabet), seed)
    started, shown_loss = time.perf_counter(), [0.0]

    def hear(step: learn.FitStep) -> None:
        shown_loss[0] = step.loss if step.step == 1 else 0.98 * shown_loss[0] + 0.02 * step.loss
        if step.step % SHOWN_EVERY == 0:
            show(step.step, shown_loss[0], time.perf_counter() - started)

    graph = learn.fit(
        build_graph(weights, corpus.alphabet, {}), (x, targets), output="logits", window=WINDOW, reset=reset,
        optimizer=learn.AdamW, lr=lambda step: learning_rate(step, steps), weight_decay=WEIGHT_DECAY,
        clip_norm=CLIP_NORM, progress=hear, checkpoint=work / "fit.safetensors", checkpoint_steps=SHOWN_EVERY,
    ).net  # fmt: skip
    bits = bits_of_graph(graph, corpus.held_out)
    show(steps, shown_loss[0], time.perf_counter() - started, bits)
    library = f"fastgru {fastgru.__version__}"
    facts = {"step": steps, "bits": bits, "seed": seed, "alphabet": corpus.alphabet, "library": library}
    np.savez(work / "latest.npz", facts=json.dumps(facts), **{name: graph.constants[name] for name in weights})


def show(step: int, loss: float, elapsed_s: float, bits: float | None = None) -> None:
    held = "" if bits is None else f", held out {bits:.4f}"
    print(f"step {step}: train {loss / math.log(2):.4f}{held} bits; {elapsed_s:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "export"))
    parser.add_argument("--work", type=Path, required=True, help="where checkpoints are")
    parser.add_argument("--with", dest="library", choices=("torch", "fastgru"), default="torch")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.action == "export":
        from demo_model import export

        export(options.work)
        return
    corpus = read_corpus()
    print(
        f"{len(corpus.train)} characters to train on, {len(corpus.held_out)} held out, {len(corpus.alphabet)} symbols"
    )
    train = train_with_torch if options.library == "torch" else train_with_fastgru
    train(options.work, corpus, steps=options.steps, seed=options.seed)


if __name__ == "__main__":
    main()
