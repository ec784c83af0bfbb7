"""A process imports the files of the operators that its model has; no operator is lost that no index has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from users import alone

TOOL = Path(__file__).resolve().parents[2] / "tools" / "families"


def test_the_index_is_what_the_files_register():
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, timeout=120, check=False)
    assert not done.returncode, done.stderr


def test_a_model_of_one_layer_imports_no_other_families():
    code = """
        import fastgru.model
        from fastgru.graph import Graph, Node, TensorSpec

        specs = (TensorSpec("x", "float32", (2, 3)),), (TensorSpec("y", "float32", (2, 3)),)
        fastgru.Model(Graph(*specs, (Node("softmax", ("x",), ("y",), {"axis": -1}),), {}))
        folders = ("fastgru.reference", "fastgru.engine.ops")
        families = ("gru", "lstm", "resize", "scatter", "spectral", "topk")
        print([f"{p}.{f}" for p in folders for f in families if f"{p}.{f}" in sys.modules and f != "gru"])
    """
    assert alone(code) == "[]\n"


def test_a_name_that_the_index_lacks_is_found():
    code = """
        from fastgru.engine import lowering
        from fastgru.importers.onnx import registry
        from fastgru.reference import operator

        for table, key, unknown in (
            (operator.OPS, "topk", "nonesuch"),
            (lowering.LOWERINGS, "topk", "nonesuch"),
            (registry.OPERATORS, ("", "TopK"), ("", "Nonesuch")),
        ):
            table._homes.clear()
            assert table[key] is table.entries[key]
            assert unknown not in table
            assert len(table) == len(list(table)) > 50
    """
    assert alone(code) == ""


def test_an_import_that_was_ended_leaves_no_half_of_a_family():
    """What a module entered before a signal's handler ended its import is not given out before it is whole."""
    code = """
        import importlib
        from fastgru.modules import Families

        entries, imported = {}, importlib.import_module
        table = Families("fastgru.reference", entries, {"softmax": "softmax"})

        def ended(name):
            entries["softmax"] = "half"
            raise KeyboardInterrupt

        importlib.import_module = ended
        try:
            table["softmax"]
        except KeyboardInterrupt:
            print("ended")
        importlib.import_module = lambda name: entries.update(softmax="whole")
        print(table["softmax"])
    """
    assert alone(code) == "ended\nwhole\n"
