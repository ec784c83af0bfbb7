"""Play through the model of a guitar amplifier: a GRU at every sample, in the callback of the sound driver.

    pip install sounddevice
    python docs/examples/sound_card.py amp.json --seconds 10

The callback must return before the next block is due. So `warm_up` makes the plan for blocks of this size and
allocates its memory before the sound begins, and `out=` writes into the driver's own block.
"""

import argparse
import time

import numpy as np
import sounddevice

import fastgru


def main() -> None:
    parser = argparse.ArgumentParser(description="Play the sound of the input device through an RTNeural model.")
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=int, default=48000, help="samples a second")
    parser.add_argument("--block", type=int, default=64, help="samples a block")
    args = parser.parse_args()

    # The states of such a model begin inside the file; `open_states` lets the stream keep them.
    stream = fastgru.load(args.model, open_states=True).stream()
    stream.warm_up(np.zeros((1, args.block, 1), np.float32))  # does not change the state

    took = np.zeros(int(args.seconds * args.rate / args.block) + 100)
    blocks = glitches = 0

    def callback(heard: np.ndarray, played: np.ndarray, samples: int, when: object, status: object) -> None:
        nonlocal blocks, glitches
        begin = time.perf_counter()
        stream.push(heard[None], out=played[None])
        glitches += bool(status)  # the driver reports a block that came too late
        took[blocks % len(took)] = time.perf_counter() - begin
        blocks += 1

    with sounddevice.Stream(
        samplerate=args.rate, blocksize=args.block, channels=1, dtype="float32", latency="low", callback=callback
    ):
        time.sleep(args.seconds)

    times = 1e6 * took[: min(blocks, len(took))]  # in microseconds
    deadline = 1e6 * args.block / args.rate
    late = int(np.sum(times > deadline))
    print(f"{blocks} blocks of {args.block} samples, each due after {deadline:.0f} us")
    print(f"median {np.median(times):.1f} us, p99 {np.quantile(times, 0.99):.1f} us, largest {times.max():.1f} us")
    print(f"{late} missed the deadline, the driver reports {glitches} glitches")


if __name__ == "__main__":
    main()
