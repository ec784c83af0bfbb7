"""English words to phoneme ids with the network of Kyubyong/g2p: python tools/g2p.py checkpoint20.npz WORD..."""

import sys

import numpy as np

from fastgru import GRU, Embedding, GRUCell, Linear, Sequential, read_weights

KEYS = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}


def load(path, **how):  # precision=, threads=
    with read_weights(path) as w:  # on leaving, a tensor that nobody read is an error
        encoder = GRU.from_torch({f"{torch}_l0": w[f"enc_{key}"] for torch, key in KEYS.items()}, **how)
        decoder = GRUCell.from_torch({torch: w[f"dec_{key}"] for torch, key in KEYS.items()}, **how)
        letters, sounds = Embedding(w["enc_emb"], **how), Embedding(w["dec_emb"], **how)
        return Sequential(letters, encoder, **how), sounds, decoder, Linear(w["fc_w"], w["fc_b"], **how)


def phonemes(model, word):
    (encoder, embed, decoder, fc), ids, logits = model, [2], []  # 2 starts the phonemes, 3 ends them
    state = h = encoder(np.array([ord(c) - ord("a") + 3 for c in word] + [2]))[-1:]  # 2 ends the word
    while len(logits) < 20 and ids[-1] != 3:
        logits.append(fc(h := decoder(embed(np.array(ids[-1:])), h))[0])
        ids.append(int(logits[-1].argmax()))
    return [i for i in ids[1:] if i != 3], state, np.array(logits)


for name in sys.argv[2:] if __name__ == "__main__" else []:
    print(name, *phonemes(load(sys.argv[1]), name)[0])
