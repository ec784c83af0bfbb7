"""Remove noise from a WAV file with GTCRN, one frame of 16 ms at a time, as frames arrive in a telephone call.

    pip install soundfile
    python docs/examples/denoise_wav.py gtcrn_simple.onnx noisy.wav clean.wav

The model file is in the repository of GTCRN (MIT licence), in the folder stream/onnx_models. The model takes the
spectrum of one frame at 16 kHz and keeps its state in three caches, which the stream finds by their names.
"""

import argparse
import time

import numpy as np
import soundfile

import fastgru

RATE, SIZE, HOP = 16000, 512, 256
WINDOW = np.sqrt(np.hanning(SIZE + 1)[:-1]).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Remove noise from a WAV file of 16 kHz.")
    parser.add_argument("model")
    parser.add_argument("noisy")
    parser.add_argument("clean")
    args = parser.parse_args()

    sound, rate = soundfile.read(args.noisy, dtype="float32", always_2d=True)
    if rate != RATE:
        parser.error(f"{args.noisy} has {rate} samples a second; GTCRN needs {RATE}")
    sound = sound.mean(axis=1)  # one channel
    frames = -(-len(sound) // HOP) + 1  # one more, because a sample is finished one hop after it came
    padded = np.pad(sound, (HOP, (frames + 1) * HOP - len(sound)))

    stream = fastgru.load(args.model).stream()
    clean, took = np.zeros_like(padded), []
    for k in range(frames):
        spectrum = np.fft.rfft(WINDOW * padded[k * HOP : k * HOP + SIZE])
        frame = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)  # (257, 2)
        begin = time.perf_counter()
        enhanced = stream.push(frame[None, :, None])[0, :, 0]
        took.append(time.perf_counter() - begin)
        clean[k * HOP : k * HOP + SIZE] += WINDOW * np.fft.irfft(enhanced[:, 0] + 1j * enhanced[:, 1])
    clean = clean[HOP : HOP + len(sound)]
    soundfile.write(args.clean, clean, RATE)

    def decibels(x: np.ndarray) -> float:
        return 10 * float(np.log10(np.mean(x**2) + 1e-12))

    before, after = decibels(sound), decibels(clean)
    print(f"{len(sound) / RATE:.2f} s of sound in {frames} frames: {before:.1f} dB before, {after:.1f} after")
    print(f"a frame of {1e6 * HOP / RATE:.0f} us took {1e6 * np.median(took):.0f} us (median)")


if __name__ == "__main__":
    main()
