"""The JSON object of an inference request, checked member by member without regard to the model.

Nothing is ignored: an unknown member or parameter is refused by its name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from fastgru.serve.errors import ServeError
from fastgru.serve.ids import Id, check_id
from fastgru.serve.text import AS_BYTES, read_json

__all__ = [
    "InferRequest", "Parameters", "Tensor", "Wanted", "bad", "check_name", "check_shape", "others_of",
    "read_parameters", "read_query", "read_request", "sequence_of",
]  # fmt: skip

_MEMBERS: Final = frozenset(("id", "parameters", "inputs", "outputs", "model_name", "model_version"))
_TENSOR: Final = frozenset(("name", "datatype", "shape", "parameters", "data"))
_OUTPUT: Final = frozenset(("name", "parameters"))
_IN_URL: Final = frozenset(("sequence_id", "sequence_start", "sequence_end", "sequence_step", "timeout"))
_PARAMETERS: Final = _IN_URL | {"binary_data_output"}
_MOST: Final = 1 << 40  # values
_MOST_AXES: Final = 32
_MOST_DIGITS: Final = 4_000  # below the limit from which Python does not convert text to int


class Parameters(NamedTuple):
    """The parameters of a request.

    sequence: the id, None for a request without a sequence. begins, ends: whether the request begins or ends the
    sequence. step: its step of the sequence, if given. timeout_us: None for the server's own limit. binary: whether
    outputs are sent as bytes by default.
    """

    sequence: Id | None = None
    begins: bool = False
    ends: bool = False
    step: int | None = None
    timeout_us: int | None = None
    binary: bool = False


_NONE: Final = Parameters()


class Tensor(NamedTuple):
    """An input. size: how many bytes it has after the JSON object; if None, `data` is its list."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    size: int | None
    data: list[Any] | None


class Wanted(NamedTuple):
    """An output that is asked for."""

    name: str
    binary: bool


class InferRequest(NamedTuple):
    """An inference request. outputs: empty for all outputs."""

    id: str
    parameters: Parameters
    inputs: tuple[Tensor, ...]
    outputs: tuple[Wanted, ...]
    model: str | None
    version: str | None


def bad(message: str, reason: str = "request") -> ServeError:
    """Return the error for a request that does not fit the protocol or the model."""
    return ServeError(400, message, reason=reason)


def read_request(text: bytes | memoryview, query: bytes, most_depth: int) -> InferRequest:
    """Read a request from its JSON object and from parameters in the query of its URL.

    Raises `ServeError`: 400, and 413 for a text that is too long.
    """
    given = read_json(text, what="the request", most_depth=most_depth, way=AS_BYTES)
    if type(given) is not dict:
        raise bad(f"the request is {_kind(given)}, expected an object")
    if not given.keys() <= _MEMBERS:
        raise bad(f"the request has {others_of(given, _MEMBERS)}, expected {_words(_MEMBERS)}")
    name, inputs, outputs = check_name(given.get("id", "")), given.get("inputs"), given.get("outputs", [])
    if type(inputs) is not list or type(outputs) is not list:
        raise bad("inputs and outputs of the request must be lists; outputs may be left out")
    parameters = _parameters(given)
    if query:
        parameters = _joined(parameters, query)
    read = read_parameters(parameters) if parameters != {} else _NONE
    model, version = given.get("model_name"), given.get("model_version")
    if not all(name is None or type(name) is str for name in (model, version)):
        raise bad("model_name and model_version must be texts")
    return InferRequest(
        name, read, tuple(map(_tensor, inputs)), tuple([_wanted(o, read.binary) for o in outputs]), model, version
    )


def read_query(query: bytes) -> Parameters:
    """Read the parameters of a request whose body is only a tensor, from its URL. All outputs are sent as bytes."""
    return read_parameters(_joined({}, query))._replace(binary=True)


def sequence_of(text: str) -> Id:
    """Return the id that a part of a URL stands for: digits are a number; in double quotes, they are a text.

    Raises `ServeError`, 400.
    """
    if text.isascii() and text.isdigit():
        return check_id(int(text) if len(text) <= _MOST_DIGITS else 1 << 64)
    return check_id(text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text)


def read_parameters(given: Any) -> Parameters:
    """Read the parameters of a request. Raises `ServeError`, 400."""
    if type(given) is not dict:
        raise bad(f"parameters are {_kind(given)}, expected an object")
    if not given.keys() <= _PARAMETERS:
        raise bad(f"the request has the parameters {others_of(given, _PARAMETERS)}, expected {_words(_PARAMETERS)}")
    for name in ("sequence_start", "sequence_end", "binary_data_output"):
        if type(given.get(name, False)) is not bool:
            raise bad(f"{name} is {given[name]!r:.80}, expected true or false")
    for name in ("sequence_step", "timeout"):
        value = given.get(name, 0)
        if type(value) is not int or not 0 <= value < 1 << 63:
            raise bad(f"{name} is {value!r:.80}, expected a whole number of at least 0")
    begins, ends, step = (
        given.get("sequence_start", False),
        given.get("sequence_end", False),
        given.get("sequence_step"),
    )
    sequence = check_id(given["sequence_id"]) if "sequence_id" in given else None
    if sequence is None and (begins or ends or step is not None):
        raise bad("sequence_start, sequence_end and sequence_step need a sequence_id", "sequence_id")
    # As with Triton, a timeout of 0 stands for the server's own limit.
    return Parameters(
        sequence, begins, ends, step, given.get("timeout", 0) or None, given.get("binary_data_output", False)
    )


def check_name(given: Any) -> str:
    """Return the id of a request, which its answer repeats. Raises `ServeError`, 400."""
    if type(given) is not str or len(given) > 256:
        raise bad(f"id is {given!r:.80}, expected a text of at most 256 characters")
    return given


def check_shape(name: str, shape: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of input `name`. Raises `ServeError`, 400, for a shape that no array has."""
    whole = 1
    for n in shape:
        whole *= n or 1 if type(n) is int and n >= 0 else _MOST + 1
        if whole > _MOST or len(shape) > _MOST_AXES:
            raise bad(f"input {name!r:.80}: shape is {shape!r:.80}, expected a list of the sizes of an array", "shape")
    return tuple(shape)


def _joined(parameters: Any, query: bytes) -> Any:
    """Return the parameters of the object together with those of the query. Raises `ServeError`, 400."""
    if type(parameters) is not dict:
        return parameters
    try:
        pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise bad("the URL has more than 16 parameters") from None
    joined = dict(parameters)
    for name, text in pairs:
        if name not in _IN_URL:
            raise bad(f"the URL has a parameter {name!r:.80}, expected {_words(_IN_URL)}")
        if name in joined:
            raise bad(f"the URL has the parameter {name!r} twice")
        if name == "sequence_id":
            joined[name] = sequence_of(text)
        else:
            joined[name] = int(text) if _is_number(text) else {"true": True, "false": False}.get(text, text)
    return joined


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _tensor(given: Any) -> Tensor:
    if type(given) is not dict:
        raise bad(f"an input is {_kind(given)}, expected an object")
    name, datatype, shape = given.get("name"), given.get("datatype"), given.get("shape")
    if type(name) is not str or type(datatype) is not str or type(shape) is not list:
        raise bad(f"input {name!r:.80}: expected name and datatype, both texts, and shape, a list")
    if not given.keys() <= _TENSOR:
        raise bad(f"input {name!r:.80} has {others_of(given, _TENSOR)}, expected {_words(_TENSOR)}")
    checked = check_shape(name, shape)
    size, data, parameters = None, given.get("data"), _parameters(given)
    if parameters != {}:
        size = _only(parameters, "binary_data_size", f"input {name!r:.80}")
        if type(size) is not int or size < 0:
            raise bad(f"input {name!r:.80}: binary_data_size is {size!r:.80}, expected a whole number of at least 0")
    if (size is None) == (type(data) is not list):
        raise bad(f"input {name!r:.80}: expected data, a list, or the parameter binary_data_size")
    return Tensor(name, datatype, checked, size, data)


def _wanted(given: Any, binary: bool) -> Wanted:
    if type(given) is not dict or type(given.get("name")) is not str:
        raise bad(f"an output is {given!r:.80}, expected an object with name, a text")
    name = given["name"]
    if not given.keys() <= _OUTPUT:
        raise bad(f"output {name!r:.80} has {others_of(given, _OUTPUT)}, expected {_words(_OUTPUT)}")
    parameters = _parameters(given)
    if parameters != {} and type(binary := _only(parameters, "binary_data", f"output {name!r:.80}")) is not bool:
        raise bad(f"output {name!r:.80}: binary_data is {binary!r:.80}, expected true or false")
    return Wanted(name, binary)


def _parameters(given: Mapping[str, Any]) -> Any:
    """Return the parameters unchecked. Null and an empty list, which some clients send, stand for none."""
    parameters = given.get("parameters")
    return {} if parameters in (None, []) else parameters


def _only(parameters: Any, name: str, what: str) -> Any:
    """Return the only allowed parameter. Parameters of shared memory and classification are refused here, by name."""
    if type(parameters) is not dict:
        raise bad(f"{what}: parameters are {_kind(parameters)}, expected an object")
    if parameters.keys() != {name}:
        raise bad(f"{what} has the parameters {others_of(parameters, (name,))}, expected {name}")
    return parameters[name]


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def others_of(given: Iterable[str], known: Iterable[str]) -> str:
    """List the names in `given` that are not known, for a message."""
    others = sorted(set(given).difference(known))
    return ", ".join(f"{name!r:.80}" for name in others[:4]) + (", ..." if len(others) > 4 else "")


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
