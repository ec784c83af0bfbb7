"""Train the model that `fastgru demo` runs: a character-level language model on the King James Bible.

    apt-get install bible-kjv bible-kjv-text
    python tools/train_demo.py train --work DIR      # needs torch; checkpoints into DIR, may be stopped and resumed
    python tools/train_demo.py export --work DIR     # needs torch and fastgru; writes fastgru/data/

The network is embedding, two GRU layers, linear, in torch's own modules and conventions. The text comes from the
`bible` command of the Debian package bible-kjv, verse references removed, one chapter a paragraph. One chapter in
twenty is held out of training; bits per character are measured on those only.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from demo_model import (
    BATCH,
    HIDDEN_SIZE,
    NUM_LAYERS,
    WINDOW,
    CharModel,
    bits_per_character,
    export,
    read_corpus,
)
from torch import nn

PEAK_RATE, FINAL_RATE, WARMUP_STEPS = 4e-3, 5e-5, 200
# A row starts from the zero state now and then, so that the model learns to begin as well as to continue.
COLD_START_PROBABILITY = 1 / 24


def learning_rate(step: int, steps: int) -> float:
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return FINAL_RATE + (PEAK_RATE - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def train(work: Path, *, steps: int, seed: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    corpus = read_corpus()
    print(
        f"{len(corpus.train)} characters to train on, {len(corpus.held_out)} held out, {len(corpus.alphabet)} symbols"
    )
    model = CharModel(len(corpus.alphabet))
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    chance = torch.Generator().manual_seed(seed)
    first = 0
    latest = work / "latest.pt"
    if latest.exists():
        saved = torch.load(latest, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        chance.set_state(saved["chance"])
        first = saved["step"]

    per_row = len(corpus.train) // BATCH
    windows = (per_row - 1) // WINDOW - 1
    text = torch.from_numpy(corpus.train)
    h = torch.zeros(NUM_LAYERS, BATCH, HIDDEN_SIZE)
    started, shown_loss = time.perf_counter(), 0.0
    for step in range(first, steps):
        epoch, window = divmod(step, windows)
        # Each epoch cuts the windows elsewhere.
        begin = (epoch * 37) % WINDOW + window * WINDOW
        at = (torch.arange(BATCH) * per_row + begin)[:, None] + torch.arange(WINDOW + 1)
        chunk = text[at]
        warm = torch.rand(BATCH, generator=chance) >= (1.0 if window == 0 else COLD_START_PROBABILITY)
        h = torch.where(warm[None, :, None], h, torch.zeros(()))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps)
        logits, h = model(chunk[:, :-1], h.detach())
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        shown_loss = loss.item() if step == first else 0.98 * shown_loss + 0.02 * loss.item()
        if (step + 1) % 500 == 0 or step + 1 == steps:
            bits = bits_per_character(model, corpus.held_out)
            elapsed_s = time.perf_counter() - started
            print(
                f"step {step + 1}: train {shown_loss / math.log(2):.4f}, held out {bits:.4f} bits; {elapsed_s:.0f} s",
                flush=True,
            )
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "chance": chance.get_state(),
                    "step": step + 1,
                    "bits": bits,
                    "seed": seed,
                    "alphabet": corpus.alphabet,
                },
                latest,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "export"))
    parser.add_argument("--work", type=Path, required=True, help="where checkpoints are")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.action == "train":
        train(options.work, steps=options.steps, seed=options.seed)
    else:
        export(options.work)


if __name__ == "__main__":
    main()
