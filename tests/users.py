"""A small network for tests of who uses it, and a Python of its own for tests that a process does not survive."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from slowness import within

from fastgru import Model
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.spec import GRUSpec

H = 64


@contextmanager
def child(words: Sequence[str | Path], *, text: bool = True, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that is waited for at the end of the block, and killed where that ends in an exception.

    One that hangs would hold up the test for ever, and run on behind it.
    """
    with subprocess.Popen(words, text=text, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def network(width: int = H, *, lengths: bool = False, threads: int = 1) -> Model:
    rng = np.random.default_rng(0)
    shapes = {"wi": (3 * width, width), "wh": (3 * width, width), "bi": (3 * width,), "bh": (3 * width,)}
    weights = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    inputs = [TensorSpec("x", "float32", (None, None, width)), TensorSpec("h0", "float32", (1, None, width))]
    inputs += [TensorSpec("n", "int64", (None,))] if lengths else []
    node = Node(
        "gru", ("x", "h0", "n" if lengths else "", "", *weights), ("y", "hn"), {"spec": GRUSpec(width, width).to_dict()}
    )
    outputs = TensorSpec("y", "float32", None), TensorSpec("hn", "float32", None)
    return Model(Graph(tuple(inputs), outputs, (node,), weights, {"h0": "hn"}), threads=threads)


def frames(steps: int, rows: int = 1, width: int = H) -> np.ndarray:
    return np.random.default_rng(steps).standard_normal((steps, rows, width), dtype=np.float32)


def alone(code: str, *arguments: str, timeout: int = 120) -> str:
    """What Python prints that runs `code`, with memory that malloc hands out or takes back full of rubbish."""
    script = "import os, signal, sys, threading, time\nimport numpy as np\nimport fastgru\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:.*fork.*:DeprecationWarning", "-c", script, *arguments],
        env={**os.environ, "MALLOC_PERTURB_": "165", "FASTGRU_QUIET": "1"},
        capture_output=True, text=True, timeout=within(timeout),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr or done.returncode
    return done.stdout
