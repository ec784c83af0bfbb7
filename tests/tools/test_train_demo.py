"""tools/train_demo.py: both libraries read the same batches from the same weights, and learn alike."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pages import load_tool

TOOLS = Path(__file__).parent.parent.parent / "tools"
STEPS = 4


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return load_tool("train_demo")


@pytest.fixture
def corpus(tool: ModuleType) -> object:
    """Each symbol follows from the one before, most of the time."""
    rng = np.random.default_rng(0)
    ids = np.zeros(20_000, np.int64)
    for t in range(1, len(ids)):
        ids[t] = (3 * ids[t - 1] + 1) % 10 if rng.random() < 0.9 else rng.integers(0, 10)
    return tool.Corpus("abcdefghij", ids[:18_000], ids[18_000:])


def test_batches_are_windows_of_the_text(tool: ModuleType) -> None:
    text = np.arange(32 * 500)
    batches, cold = tool.read_batches(text, 11, 0)
    assert batches.shape == (11, 32, 97)
    assert (np.diff(batches, axis=2) == 1).all()
    windows = 499 // 96 - 1
    assert cold[::windows].all()
    np.testing.assert_array_equal(batches[1, :, 0], batches[0, :, -1])
    np.testing.assert_array_equal(tool.read_batches(text, 5, 0)[0], batches[:5])


def test_fastgru_learns_as_torch_does(
    tool: ModuleType, corpus: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool.train_with_fastgru(tmp_path, corpus, steps=STEPS, seed=1)
    assert "step 4" in capsys.readouterr().out
    with np.load(tmp_path / "latest.npz") as saved:
        ours = {name: saved[name] for name in saved.files if name != "facts"}
    before = tool.first_weights(10, 1)
    assert ours.keys() == before.keys()
    assert all(not np.array_equal(ours[name], before[name]) for name in before)
    torch = pytest.importorskip("torch", reason="needs torch, which is the oracle")
    tool.train_with_torch(tmp_path, corpus, steps=STEPS, seed=1)
    theirs = torch.load(tmp_path / "latest.pt", weights_only=True)["model"]
    for name, a in ours.items():
        moved = np.linalg.norm(a - before[name])
        assert np.linalg.norm(a - theirs[name].numpy()) < 0.02 * moved, name  # Adam makes much of gradients near 0
    assert "demo_text" in sys.modules
