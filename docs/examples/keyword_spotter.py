"""Listen for keywords in a stream of sound: ten milliseconds in, the probability of every keyword out.

    pip install soundfile
    python docs/examples/keyword_spotter.py spotter.onnx sound.wav --keywords low,middle,high

The model takes 40 log-mel energies per frame, x (T, N, 40), and h0. It returns logits of silence and of each keyword.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import soundfile

import fastgru

RATE, SIZE, HOP, BANDS = 16000, 400, 160, 40  # windows of 25 ms, a frame every 10 ms


def mel_filters() -> np.ndarray:
    """(BANDS, SIZE // 2 + 1): triangles at equal distances on the mel scale, as in HTK."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(SIZE, 1 / RATE)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


def log_mel(sound: np.ndarray) -> Iterator[np.ndarray]:
    """A frame (1, 1, BANDS) for every HOP samples."""
    filters, window = mel_filters(), np.hanning(SIZE)
    for begin in range(0, len(sound) - SIZE + 1, HOP):
        power = np.abs(np.fft.rfft(window * sound[begin : begin + SIZE])) ** 2
        yield np.log(filters @ power + 1e-6).astype(np.float32)[None, None]


def main() -> None:
    parser = argparse.ArgumentParser(description="Print every keyword that is heard in a WAV file of 16 kHz.")
    parser.add_argument("model")
    parser.add_argument("sound")
    parser.add_argument("--keywords", required=True, help="names of the logits after the first (silence), in order")
    args = parser.parse_args()
    names, (sound, _) = ["", *args.keywords.split(",")], soundfile.read(args.sound, dtype="float32")

    stream = fastgru.load(args.model).stream()
    smooth, quiet_until = np.zeros(len(names)), 0.0
    for k, frame in enumerate(log_mel(sound)):
        logits = stream.push(frame)[0, 0]
        probabilities = np.exp(logits - logits.max())
        smooth += 0.1 * (probabilities / probabilities.sum() - smooth)
        seconds, best = k * HOP / RATE, int(np.argmax(smooth))
        if best and smooth[best] > 0.8 and seconds >= quiet_until:
            print(f"{seconds:5.2f} s  {names[best]:8} {smooth[best]:.2f}")
            quiet_until = seconds + 0.5  # print each keyword once


if __name__ == "__main__":
    main()
