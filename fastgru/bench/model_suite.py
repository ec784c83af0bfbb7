"""Whole models: the networks of `networks`, and the files of a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastgru.bench.model_file import file_problem, model_problem
from fastgru.bench.networks import NETWORKS, Network
from fastgru.bench.problem import Problem
from fastgru.load import load_graph

__all__ = ["ModelCase", "model_cases"]


@dataclass(frozen=True)
class ModelCase:
    """slug: for filters; title: for people; make: the problem, which may raise `FastGRUError`; goal: on one thread."""

    slug: str
    title: str
    make: Callable[[], Problem]
    goal: float | None = None


def model_cases(folder: Path | None = None) -> list[ModelCase]:
    """Every network of `NETWORKS`, then every ONNX file at or below `folder`, by its path."""
    found = [ModelCase(n.slug, n.title, partial(_network_problem, n), n.goal) for n in NETWORKS.values()]
    files = {} if folder is None else {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*.onnx"))}
    return found + [
        ModelCase(name.removesuffix(".onnx"), name, partial(file_problem, path, {}), 1.0)
        for name, path in files.items()
    ]


def _network_problem(network: Network) -> Problem:
    data = network.build()
    return model_problem(network.slug, load_graph(data), data)
