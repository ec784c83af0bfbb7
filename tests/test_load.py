"""What a file is read with: one set of options, each documented, none ignored."""

from __future__ import annotations

import gc
import inspect
import os
import re
from typing import Any

import pytest
from users import alone

import fastgru
from fastgru.cli.charmodel import DATA
from fastgru.load import Reading

DEMO = DATA / "demo.safetensors"


def test_every_option_is_documented() -> None:
    documented = re.findall(r"^(\w+): ", inspect.getdoc(fastgru.load) or "", re.MULTILINE)
    assert set(Reading.__annotations__) <= set(documented)


@pytest.mark.parametrize(
    ("read", "own"),
    [
        (fastgru.load, "precision, threads, spin_us, plan_bytes, "),
        (fastgru.load_graph, ""),
        (fastgru.quantize, "precision, data, max_error, min_db, seed, threads, spin_us, "),
        (fastgru.verify, "inputs, seed, tol, precision, runtimes, "),
    ],
)
def test_an_option_that_there_is_not_is_refused_by_name(read: Any, own: str) -> None:
    offered = rf"did you mean allow_unread\? Expected one of {own}allow_unread, "
    for source in (DEMO, fastgru.load_graph(DEMO)):
        with pytest.raises(TypeError, match=f"^{read.__name__} has no option allow_unknown; {offered}"):
            read(source, allow_unknown=True)


def test_none_is_an_option_that_is_not_given() -> None:
    graph = fastgru.load_graph(DEMO, outputs=None, fallback=None, linear_before_reset=None, architecture=None)
    assert graph.outputs == fastgru.load_graph(DEMO).outputs
    with pytest.raises(fastgru.UnsupportedModelError, match="key= does not apply to this file"):
        fastgru.load_graph(DEMO, key="")
    with pytest.raises(fastgru.UnsupportedModelError, match="expected None or 'reference'"):
        fastgru.load_graph(DEMO, fallback="onnxruntime")


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_as_it_was_after_a_load(on: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        fastgru.load(DEMO)
        assert gc.isenabled() is on
        with pytest.raises(fastgru.InvalidModelError):
            fastgru.load(b"no model")
        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_what_the_first_load_leaves_counts_as_old_and_what_is_frozen_stays_so() -> None:
    code = f"""
        import gc
        path, frozen = {str(DEMO)!r}, gc.get_freeze_count()
        model = fastgru.load(path)
        print(gc.isenabled(), gc.get_freeze_count() - frozen, gc.get_count()[0] < 2000)
        gc.freeze()
        frozen = gc.get_freeze_count()
        fastgru.load(path)
        print(gc.get_freeze_count() == frozen)
    """
    assert alone(code).split() == ["True", "0", "True", "True"]


def test_a_child_forked_in_the_middle_of_a_load_has_its_collector() -> None:
    from fastgru.load import _collector_paused

    with _collector_paused():
        assert not gc.isenabled()
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
    assert gc.isenabled()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
