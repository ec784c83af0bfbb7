"""The precisions that there are, and what each of them takes."""

from __future__ import annotations

import pytest

from fastgru.errors import UnsupportedModelError
from fastgru.precisions import (
    ASKED,
    AUTO,
    LOWP,
    PRECISIONS,
    WEIGHT_BYTES,
    float_dtype_of,
    split_precision,
    weight_bytes,
)


def test_every_precision_is_whole() -> None:
    assert set(LOWP) < set(PRECISIONS) == set(WEIGHT_BYTES)
    assert {of: float_dtype_of(of) for of in PRECISIONS if of != "float64"} == dict.fromkeys(
        ("float32", *LOWP), "float32"
    )
    assert float_dtype_of("float64") == "float64"
    assert set(ASKED) == {*PRECISIONS, *AUTO}
    assert {asked: (float_dtype_of(asked), set(among) <= set(LOWP)) for asked, among in AUTO.items()} == dict.fromkeys(
        AUTO, ("float32", True)
    )


@pytest.mark.parametrize("precision", ["float16", "", None, ["int8"]])
def test_another_is_refused_by_name(precision: str) -> None:
    with pytest.raises(
        UnsupportedModelError,
        match=r"is not supported; .*xpected one of float64, float32, bfloat16, int8, auto, auto-int8",
    ):
        float_dtype_of(precision)


def test_a_mapping_leaves_the_others_in_float32() -> None:
    assert split_precision("int8") == ("int8", {})
    assert split_precision({"y": "int8"}) == ("float32", {"y": "int8"})
    assert split_precision({"*": "bfloat16", "y": "int8"}) == ("bfloat16", {"y": "int8"})


def test_an_int8_matrix_has_a_scale_for_each_output() -> None:
    assert [weight_bytes(of, rows=10, elements=300) for of in PRECISIONS] == [2400, 1200, 600, 340]
