"""Run cases on the level that FASTGRU_TARGET names, in a process of its own; prints what failed.

python level_worker.py [all]
"""

from __future__ import annotations

import sys
from pathlib import Path

from fastgru.simd.target import LANES, TARGET

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "kernels")]

# fmt: off
from engine_cases import CASES, agree  # noqa: E402
from gru_cases import Layer, error  # noqa: E402
from recurrent_cases import Recurrent  # noqa: E402

from fastgru.spec import Activation, GRUSpec, LSTMSpec, RNNSpec  # noqa: E402

# fmt: on
COMPACT = {"activation", "binary", "conv", "conv_transpose", "gather", "layer_norm", "linear", "pool"}
COMPACT |= {"reduce", "softmax", "unary"}
QUANTISED = {"conv_integer", "dequantize", "dynamic_quantize", "matmul_integer", "quantize"}


def failures(everything: bool) -> list[str]:
    found = []
    for precision in ("float32", "float64") if everything else ("float32",):
        for case in (case for cases in CASES.values() for case in cases):
            skipped = case.op not in COMPACT or "int" in str(case)
            if not everything and case.op not in QUANTISED and skipped:
                continue
            try:
                agree(*case.graph(), precision, case.slack)
            except AssertionError as wrong:
                found.append(f"{precision} {case}: {wrong}")
        found += layers(precision, everything)
        found += other_layers(precision, everything)
    return found


def layers(precision: str, everything: bool) -> list[str]:
    sizes = [LANES["float32"] + 1, 70] if everything else [LANES["float32"] + 1]
    forms = [{}, {"reset_after": False}, {"clip": 0.5, "candidate_activations": (Activation("softsign"),)}]
    found = []
    for H in sizes:
        for form in forms if everything else forms[:1]:
            layer = Layer(GRUSpec(5, H, **form), 40, 7)
            given = {"h0": layer.h0, "lengths": layer.lengths}
            y, h_n = layer.run(precision, **given)
            worst = error((y, h_n), layer.defined(**given))
            if not worst <= (2e-6 if precision == "float32" else 1e-12):
                found.append(f"{precision} GRU of {H} {form}: {worst}")
            if not (layer.run(precision, rows=slice(3, 4), **given)[0] == y[:, 3:4]).all():
                found.append(f"{precision} GRU of {H} {form}: a row alone has other bits")
    return found


def other_layers(precision: str, everything: bool) -> list[str]:
    lanes = LANES["float32"]
    specs = [LSTMSpec(5, lanes + 1)]
    if everything:
        specs += [LSTMSpec(5, 70, clip=0.5), RNNSpec(5, 9 * lanes + 3), LSTMSpec(5, 70), RNNSpec(5, lanes + 1)]
    found = []
    for spec in specs:
        layer = Recurrent(spec, 40, 7, peephole=spec.clip is not None)
        given = layer.all_given()
        outputs = layer.run(precision, **given)
        worst = error(outputs, layer.defined(**given))
        if not worst <= (2e-6 if precision == "float32" else 1e-12):
            found.append(f"{precision} {spec}: {worst}")
        if not (layer.run(precision, rows=slice(3, 4), **given)[0] == outputs[0][:, 3:4]).all():
            found.append(f"{precision} {spec}: a row alone has other bits")
    return found


if __name__ == "__main__":
    wrong = failures(sys.argv[1:] == ["all"])
    print("\n".join(wrong[:10]))
    print(f"{TARGET.short}: {len(wrong)} failed")
    sys.exit(bool(wrong))
