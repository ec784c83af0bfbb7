"""What is offered for a name that is not known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgru.nearest import nearest, offered

TYPES = ("GRU", "GRUCell", "Linear", "LayerNorm")


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("gru", TYPES, ["GRU"]),
        ("Liner", TYPES, ["Linear"]),
        ("layer_norm", TYPES, ["LayerNorm"]),
        ("gru", ("encoder.gru", "fc"), ["encoder.gru"]),
        ("model.encoder.gru", ("encoder.gru", "fc"), ["encoder.gru"]),
        ("zzz", TYPES, []),
        ("report", ("grpc-port", "rounds"), []),
        ("prec", ("precision", "prompt"), ["precision"]),
        ("", TYPES, []),
        ("GRU", (), []),
    ],
)
def test_nearest(name: str, known: tuple[str, ...], expected: list[str]) -> None:
    assert nearest(name, known) == expected


def test_offered_asks_and_lists() -> None:
    assert offered("liner", TYPES) == "did you mean Linear? Expected one of GRU, GRUCell, Linear, LayerNorm"
    assert offered("liner", TYPES, all_of_them=False) == "did you mean Linear?"
    assert offered(["zzz"], TYPES, all_of_them=False) == "expected one of GRU, GRUCell, Linear, LayerNorm"
    assert offered(["gru", "liner", "gru"], TYPES, all_of_them=False) == "did you mean GRU, Linear?"
    assert offered("x", ()) == "there are none"


@given(st.text(max_size=300), st.lists(st.text(max_size=20), max_size=20), st.integers(1, 4))
def test_what_is_offered_is_known(name: str, known: list[str], most: int) -> None:
    found = nearest(name, known, most=most)
    assert len(found) <= most
    assert set(found) <= set(known)
    assert not name or name not in known or found[0].casefold() == name.casefold()
