"""Instructions are declared once: nothing reads a word by its number, and a word that is wrong fails before it runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fastgru.kernels
from fastgru.engine.emission import Emitter
from fastgru.kernels.operands.binary import BINARY
from fastgru.kernels.operands.cast import CAST
from fastgru.kernels.operands.declare import Operands, Words, codes, places
from fastgru.kernels.operands.movement import COPY
from fastgru.kernels.table import BASES
from fastgru.modules import import_all

# Arrays of words, by the names that kernels give them, and the functions that go further into one.
WORDS = {
    "about", "alone", "arrays", "banks", "bases", "control", "head", "member", "members", "nditer", "op", "operands",
    "ops", "other", "others", "phase", "process", "report", "scratch", "shared", "state", "status", "table", "team",
    "ticket", "words",
}  # fmt: skip
TAKES_A_PLACE = {"offset": 1, "tensor": 2, "atomic_add": 1, "atomic_exchange": 1, "atomic_load": 1, "atomic_store": 1}


def modules():
    return sorted(Path(fastgru.kernels.__file__).parent.glob("*.py"))


def numbers_of(tree):
    """Names of the module that stand for numbers written here, not for what a declaration says."""
    return {
        name.id
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None
        and not any(isinstance(part, ast.Attribute) for part in ast.walk(statement.value))
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }  # fmt: skip


def is_positional(place, numbers):
    """Whether nothing in the expression names a place."""
    leaves = [n for n in ast.walk(place) if isinstance(n, ast.Constant | ast.Name | ast.Attribute)]
    return all(isinstance(n, ast.Constant) or (isinstance(n, ast.Name) and n.id in numbers) for n in leaves)


def positional(source):
    tree = ast.parse(source)
    numbers = numbers_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            array, place = node.value.id, node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TAKES_A_PLACE:
            array, place = getattr(node.args[0], "id", ""), node.args[TAKES_A_PLACE[node.func.id]]
        else:
            continue
        if array in WORDS and is_positional(place, numbers):
            yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_no_word_is_read_by_its_number(path):
    assert list(positional(path.read_text())) == []


def test_reading_by_number_is_found():
    source = """
_X, _Y = range(2)
_AT: Final = 7
def handle(operands, bases, team):
    a, b = operands[3], operands[_X]
    c = tensor(bases, operands, 4)
    d = offset(operands, _AT + 1)
    return bases[0], team[AT.number], operands[AT.sizes + i]
"""
    assert {line.split(": ")[1] for line in positional(source)} == {
        "operands[3]", "operands[_X]", "tensor(bases, operands, 4)", "offset(operands, _AT + 1)", "bases[0]",
    }  # fmt: skip


def test_places_follow_each_other():
    at = places("a b c", first=3, b=4)
    assert (at.a, at.b, at.c, at.words) == (3, 4, 8, 9)
    assert codes("a b", first=2).b == 3
    with pytest.raises(TypeError, match="c"):
        places("a b", c=2)


def test_operands_of_a_kernel():
    operands = Operands("x y", "n sizes", rest="nditer", x=2, sizes=3)
    at = operands.at
    assert (at.x, at.y, at.n, at.sizes, at.nditer, at.words) == (0, 4, 6, 7, 10, 10)
    given = {"n": 5, "y": "Y", "x": ["X0", "X1"], "nditer": [9, 9], "sizes": (6, 7, 8)}
    assert operands.encode(given) == (["X0", "X1", "Y"], [5, 6, 7, 8, 9, 9])


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"n": None}, "operands n are missing"),
        ({"m": 4}, "operands m are missing or not declared"),
        ({"sizes": (1, 2)}, "operand sizes: got 2 words, expected 3"),
    ],
    ids=["missing", "extra", "of another number"],
)
def test_wrong_words(change, names):
    words = Words("n sizes", sizes=3)
    given = {name: value for name, value in {"n": 5, "sizes": (6, 7, 8), **change}.items() if value is not None}
    with pytest.raises(TypeError, match=names):
        words.encode(given)


def test_a_word_changes_by_name():
    words = Words("n sizes k", rest="more", sizes=2)
    made = words.encode({"n": 1, "sizes": [2, 3], "k": 4, "more": [5]})
    words.put(made, "sizes", [7, 8])
    words.put(made, "k", 9)
    assert made == [1, 7, 8, 9, 5]
    with pytest.raises(TypeError, match="sizes"):
        words.put(made, "sizes", [1])


@pytest.mark.parametrize(
    ("op", "operands", "change", "message"),
    [
        ("cast_to_int64", CAST, {"count": None}, "count"),
        ("cast_to_int64", CAST, {"n": 3}, "n"),
        ("cast_to_int64", CAST, {"x": 3}, "a word for a tensor"),
        ("cast_to_int64", CAST, {"x": None, "y": None, "count": None}, "count, x, y"),
        ("cast_to_int64", COPY, {}, "shape"),
    ],
    ids=["missing", "extra", "a word for a tensor", "none", "of another instruction"],
)
def test_nothing_is_emitted_with_wrong_operands(op, operands, change, message):
    emitter = Emitter("float32", {})
    x, y = emitter.new((4,)), emitter.new((4,), "int64")
    given = {"x": x, "y": y, "count": 4, **change}
    with pytest.raises(TypeError, match=message):
        emitter.emit(op, "float32", operands, {name: value for name, value in given.items() if value is not None})
    assert not emitter.instructions


def test_a_tensor_for_a_word_is_an_error():
    emitter = Emitter("float32", {})
    x, y = emitter.new((4,)), emitter.new((4,), "int64")
    with pytest.raises(TypeError, match="a tensor for a word"):
        emitter.emit("cast_to_int64", "float32", CAST, {"x": x, "y": y, "count": x})
    assert BINARY.tensors.at.b == 1


def test_every_microkernel_that_is_named_has_its_place():
    folder = import_all("fastgru.kernels.operands")
    named = [name for module in folder for name in getattr(module, "MICROKERNELS", ())]
    assert list(BASES._fields) == ["status", "arena", *sorted(named), "words"]
