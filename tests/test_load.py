"""What a file is read with: one set of options, each documented, none ignored."""

from __future__ import annotations

import re

import pytest

import fastgru
from fastgru.cli.charmodel import DATA
from fastgru.load import Reading

DEMO = DATA / "demo.safetensors"


def test_every_option_is_documented() -> None:
    documented = re.findall(r"^    (\w+): ", fastgru.load.__doc__ or "", re.MULTILINE)
    assert set(Reading.__annotations__) <= set(documented)


@pytest.mark.parametrize("read", [fastgru.load, fastgru.load_graph])
def test_an_option_that_there_is_not_is_refused_by_name(read: type) -> None:
    with pytest.raises(TypeError, match="allow_unknown; there are allow_unread, "):
        read(DEMO, allow_unknown=True)


def test_none_is_an_option_that_is_not_given() -> None:
    graph = fastgru.load_graph(DEMO, outputs=None, fallback=None, linear_before_reset=None, architecture=None)
    assert graph.outputs == fastgru.load_graph(DEMO).outputs
    with pytest.raises(fastgru.UnsupportedModelError, match="outputs= has no meaning for this file"):
        fastgru.load_graph(DEMO, outputs=[])
    with pytest.raises(fastgru.UnsupportedModelError, match="expected None or 'reference'"):
        fastgru.load_graph(DEMO, fallback="onnxruntime")
