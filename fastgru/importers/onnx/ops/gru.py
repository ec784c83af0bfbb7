"""The operator GRU, with every attribute and input of its versions 7, 14 and 22.

ONNX: X (T, N, I), W (D, 3H, I), R (D, 3H, H), B (D, 6H), sequence_lens (N,), initial_h (D, N, H) -> Y (T, D, N, H),
Y_h (D, N, H); layout 1 has the batch first in X, initial_h, Y (N, T, D, H) and Y_h (N, D, H). Gates are z, r, h.
"""

from __future__ import annotations

from fastgru.conventions import from_onnx_gates
from fastgru.importers.onnx.builder import Builder
from fastgru.importers.onnx.node import OnnxNode
from fastgru.importers.onnx.ops.recurrent import arrays_of, common_fields, emit_layer, functions_of
from fastgru.importers.onnx.registry import operator
from fastgru.importers.onnx.values import Value
from fastgru.spec import GRUSpec

__all__: list[str] = []


@operator("GRU", versions=(7, 14, 22), inputs=(3, 6), outputs=2, constants={1: "W", 2: "R", 3: "B"})
def _gru(node: OnnxNode, build: Builder) -> tuple[Value, ...]:
    weights = arrays_of(node, ("W", "R", "B"), from_onnx_gates)
    fields = common_fields(node, weights)
    gates, candidates = functions_of(node, ("Sigmoid", "Tanh"), len(weights))
    spec = GRUSpec(
        reset_after=_reset_after(node, build), gate_activations=gates, candidate_activations=candidates, **fields
    )
    return emit_layer(node, build, "gru", spec, weights, [node.optional(5)])


def _reset_after(node: OnnxNode, build: Builder) -> bool:
    given = node.attrs.flag("linear_before_reset", False)
    override = node.options["linear_before_reset"]
    if override is not None:
        return bool(override)
    if not given and node.options["producer"].lower().startswith("pytorch"):
        build.warnings.append(
            f"{node.what}: linear_before_reset is 0 in a file that PyTorch wrote, whose GRU is always of the other"
            " kind: some exporters drop the attribute (microsoft/onnxscript issue 2852). If the model came from"
            " torch.nn.GRU, read it with linear_before_reset=1; with linear_before_reset=0 this warning goes"
        )
    return given
