"""Which output is the next value of which input, told by their names."""

from collections.abc import Iterator, Sequence

from fastgru.graph import TensorSpec

__all__ = ["agree", "pair_states"]


def pair_states(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> dict[str, str]:
    """{input: output} for the names that exporters and users give to a state and to its next value.

    X and X_out, X_in and X_out, h0 and hn, h_0 and h_n (at the start of a name, after an underscore, and with an
    ending: `gru_h0`, `h0_1`), initial_h and Y_h; and the same with c, for the cell of an LSTM. A pair must have one
    dtype and shapes that agree, where a free dimension agrees with anything. A name that could go with two others goes
    with none; and where every input would become a state there is no pair at all, because a stream needs something to
    push.
    """
    by_name = {spec.name: spec for spec in outputs}
    pairs = {}
    for spec in inputs:
        found = [name for name in dict.fromkeys(_next_names(spec.name)) if name in by_name]
        if len(found) == 1 and agree(spec, by_name[found[0]]):
            pairs[spec.name] = found[0]
    taken = list(pairs.values())
    pairs = {source: target for source, target in pairs.items() if taken.count(target) == 1}
    return {} if len(pairs) == len(inputs) else pairs


def _next_names(name: str) -> Iterator[str]:
    yield f"{name}_out"
    if name.endswith("_in"):
        yield f"{name.removesuffix('_in')}_out"
    parts = name.split("_")
    for state in ("h", "c"):
        if name == f"initial_{state}":
            yield f"Y_{state}"
        for i, part in enumerate(parts):
            rest = parts[i + 1 :] if part == f"{state}0" else parts[i + 2 :]
            if part == f"{state}0" or parts[i : i + 2] == [state, "0"]:
                for new in (f"{state}n", f"{state}_n"):
                    yield "_".join((*parts[:i], new, *rest))


def agree(a: TensorSpec, b: TensorSpec) -> bool:
    """True where one can be the next value of the other, as far as is known: of one dtype, and of shapes that agree."""
    if a.dtype != b.dtype or a.shape is None or b.shape is None:
        return a.dtype == b.dtype
    return len(a.shape) == len(b.shape) and all(
        m is None or n is None or m == n for m, n in zip(a.shape, b.shape, strict=True)
    )
