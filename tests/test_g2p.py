"""tools/g2p.py against the values stored with the checkpoint: a script of a user, through the public interface only."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).parent.parent / "tools" / "g2p.py"


def test_words(shared_models):
    spec = importlib.util.spec_from_file_location("g2p", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    g2p = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(g2p)
    model = g2p.load(shared_models / "g2p" / "checkpoint20.npz")
    golden = np.load(shared_models / "g2p" / "golden.npz")
    for word in golden["words"]:
        ids, state, logits = g2p.phonemes(model, word)
        assert ids == golden[f"{word}_phon"].tolist()
        np.testing.assert_allclose(state, golden[f"{word}_enc"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(logits, golden[f"{word}_logits"], rtol=0, atol=1e-4)
