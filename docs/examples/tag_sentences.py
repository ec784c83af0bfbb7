"""Tag sentences of different lengths in one batch, with a tagger that torch has trained.

    python docs/examples/tag_sentences.py tagger.safetensors vocabulary.json "the dog sees a bird" "birds sing"

The checkpoint is a state dict with an Embedding "emb", a bidirectional GRU "gru" and a Linear "fc", in a
safetensors file or a file of torch.save. torch is not needed.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import fastgru


def main() -> None:
    parser = argparse.ArgumentParser(description="Print a tag for every word of the sentences.")
    parser.add_argument("checkpoint")
    parser.add_argument("vocabulary", help='a JSON file: {"words": [...], "tags": [...]}')
    parser.add_argument("sentences", nargs="+")
    args = parser.parse_args()
    names = json.loads(Path(args.vocabulary).read_text(encoding="utf-8"))

    with fastgru.read_weights(args.checkpoint) as weights:
        tagger = fastgru.Sequential(
            fastgru.Embedding.from_torch(weights, "emb"),
            fastgru.GRU.from_torch(weights, prefix="gru", batch_first=True),
            fastgru.Linear.from_torch(weights, "fc"),
        )

    number = {word: k for k, word in enumerate(names["words"])}
    sentences = [[number.get(word, 0) for word in sentence.split()] for sentence in args.sentences]  # 0: unknown
    lengths = [len(words) for words in sentences]
    padded = np.zeros((len(sentences), max(lengths)), np.int64)
    for row, words in zip(padded, sentences, strict=True):
        row[: len(words)] = words

    logits = tagger(padded, lengths=lengths)  # (N, T, tags); the reverse direction begins at each sentence's last word
    for sentence, best, length in zip(args.sentences, logits.argmax(-1), lengths, strict=True):
        print(
            " ".join(f"{word}/{names['tags'][tag]}" for word, tag in zip(sentence.split(), best[:length], strict=True))
        )


if __name__ == "__main__":
    main()
