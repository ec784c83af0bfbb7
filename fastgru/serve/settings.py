"""Every option of the server. The command line, `serve.yaml` and the docs are made from the fields of `Settings`.

A field has a default, a unit and a description. Nothing here needs the extra `serve`.
"""

import dataclasses
import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from fastgru.errors import FastGRUError
from fastgru.precisions import ASKED
from fastgru.records import dataclass

__all__ = ["NAME", "OF_READING", "TEXTS", "ModelFile", "Settings", "SettingsError", "kind_of", "named_models"]

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # the name of a model, which is part of URLs
_ORIGIN: Final = re.compile(r"(?:https?://[^/?#\s@]+|[a-z][a-z0-9+.-]*-extension://[^/?#\s@]+|null|\*)")


class SettingsError(FastGRUError, ValueError):
    """An option of the server is unknown or wrong, or contradicts another; the message lists every fault at once.

    as_flags: the same message, with options named by their command-line flags.
    """

    def __init__(self, message: str, as_flags: str | None = None) -> None:
        super().__init__(message)
        self.as_flags = message if as_flags is None else as_flags


def _option(default: Any, doc: str, unit: str = "", **more: Any) -> Any:
    """Return a field of `Settings`.

    unit: "seconds", "bytes" or "". least: the smallest number. choices: the possible values. reads: whether the option
    is about reading a model, so that a model in a settings file may have its own value.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, "unit": unit, **more})


@dataclass(frozen=True)
class ModelFile:
    """A model with its own options, which take precedence over the server's. options: fields of `Settings`."""

    name: str
    path: Path
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """The options of `fastgru serve`. Raises `SettingsError` for impossible values.

    models: texts "PATH" or "NAME=PATH", and `ModelFile`s; `named_models` returns their names and paths.
    """

    models: tuple[str | ModelFile, ...] = _option((), "The models: NAME=PATH, or PATH, which is named after the file.")
    host: str = _option("127.0.0.1", "The address to listen on; 0.0.0.0 or :: means every interface.")
    port: int = _option(8000, "The port to listen on; 0 takes a free one.", least=0)
    grpc_port: int | None = _option(
        None,
        "The port for gRPC; 0 turns it off. The default is 8001 if the port of HTTP is 8000, and off otherwise.",
        least=0,
    )
    unix: Path | None = _option(None, "Listen on this Unix socket instead of a port.")
    unix_mode: str = _option("0600", "The permissions of the Unix socket, in octal.")
    precision: str | None = _option(
        None,
        "The precision of the weights; by default float32, or that of a quantised file.",
        choices=ASKED,
        reads=True,
    )
    open_states: bool = _option(
        False,
        "Turn every state that begins inside a model's file into one that the server keeps for each sequence.",
        reads=True,
    )
    architecture: Path | None = _option(
        None, "For files of weights alone: a YAML or JSON file that describes the network.", reads=True
    )
    key: str | None = _option(None, "For checkpoints: the dotted path of the dict of tensors to read.", reads=True)
    inputs: tuple[str, ...] = _option(
        (),
        "Serve a part of the model: make this tensor, or the output of this Keras layer, an input.",
        metavar="NAME",
        reads=True,
    )
    outputs: tuple[str, ...] = _option(
        (),
        "Serve a part of the model: return this tensor, or the output of this Keras layer.",
        metavar="NAME",
        reads=True,
    )
    custom_objects: Path | None = _option(
        None, "For Keras: a file in Python, YAML or JSON that defines layers of your own.", reads=True
    )
    fallback: str | None = _option(
        None,
        "For ONNX: run nodes that fastgru does not implement with onnx's own slow implementation.",
        choices=("reference",),
        reads=True,
    )
    linear_before_reset: int | None = _option(
        None, "For ONNX: use this value for every GRU, not the one in the file.", choices=(0, 1), least=0, reads=True
    )
    max_iterations: int | None = _option(
        None, "For ONNX: how many iterations the loops of one run may have.", least=1, reads=True
    )
    allow_unread: bool = _option(False, "Accept a file that contains tensors that nothing reads.", reads=True)
    threads: int = _option(1, "The number of threads of one computation.", least=1, reads=True)
    capacity: int = _option(16_384, "How many sessions of a model may be open at once.", least=1)
    idle_seconds: float = _option(
        300.0, "How long a session may be unused before it is closed.", "seconds", least=0.001
    )
    state_dir: Path | None = _option(
        None, "A folder that keeps the states of all sessions when the process ends; only one server may use it."
    )
    any_target: bool = _option(
        False,
        "Also accept states, from clients or in --state-dir, that were saved on another target (a system and a level of"
        " CPUs); the bits may then differ.",
    )
    state_sync: bool = _option(
        False, "With --state-dir: answer only after the state is on the disk, so that it survives a power cut."
    )
    parked_seconds: float = _option(
        604_800.0, "With --state-dir: how long an idle session stays on disk.", "seconds", least=0.001
    )
    parked_sessions: int = _option(
        32_768,
        "With --state-dir: how many idle sessions of a model stay on disk. Beyond that, the oldest are ended.",
        least=0,
    )
    deadline_seconds: float = _option(
        30.0,
        "How long a request may take to arrive, and then how long its answer may take. A request can ask for less.",
        "seconds",
        least=0.001,
    )
    drain_seconds: float = _option(
        10.0, "How long accepted requests may take to finish after SIGTERM or Ctrl-C.", "seconds", least=0
    )
    drain_delay_seconds: float = _option(
        0.0,
        "After SIGTERM or Ctrl-C, how long the server still serves, but reports that it is not ready.",
        "seconds",
        least=0,
    )
    api_key_file: Path | None = _option(
        None,
        "A file of API keys, one per line: a name, a role (user or admin), and the SHA-256 of the key in hexadecimal.",
    )
    insecure: bool = _option(False, "Let other machines connect although there are no API keys.")
    tls_cert: Path | None = _option(None, "The certificate chain of the server, as a PEM file; needs --tls-key.")
    tls_key: Path | None = _option(None, "The private key of the certificate, as a PEM file.")
    tls_client_ca: Path | None = _option(
        None, "Serve only clients with a certificate of these authorities, which are in a PEM file."
    )
    allow_origin: tuple[str, ...] = _option(
        (),
        "Allow pages of this origin, such as https://example.org, and requests with its host in the header Host;"
        " * allows every origin.",
    )
    log_format: str = _option("text", "The format of the log, which goes to standard error.", choices=("text", "json"))
    max_body_bytes: int = _option(16 << 20, "The largest size of the body of a request.", "bytes", least=1)
    max_in_flight_bytes: int = _option(
        256 << 20, "The largest total size of the requests that are not answered yet.", "bytes", least=1
    )
    max_header_bytes: int = _option(16 << 10, "The largest size of the headers of a request.", "bytes", least=256)
    max_headers: int = _option(100, "How many headers a request may have.", least=1)
    max_message_bytes: int = _option(1 << 20, "The largest size of a WebSocket message.", "bytes", least=1)
    max_json_depth: int = _option(32, "How deeply the JSON of a request may be nested.", least=1)
    max_connections_per_address: int = _option(1_024, "How many connections one address may have at once.", least=1)
    keep_alive_seconds: float = _option(
        75.0, "How long a connection without a request stays open.", "seconds", least=0.001
    )

    def __post_init__(self) -> None:
        faults = self._faults(str, " = ")
        if faults:
            raise SettingsError("; ".join(faults), "; ".join(self._faults(_flag, " ")))

    def _faults(self, named: Callable[[str], str], equals: str) -> list[str]:
        """Return all faults. named: returns the name of a field for users. equals: the text between name and value."""
        single = [(field, fault) for field in _fields() if (fault := _fault(field, getattr(self, field.name)))]
        return [
            f"{named(field.name)}{equals}{getattr(self, field.name)!r}: {fault}" for field, fault in single
        ] or self._contradictions(named)

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments for `fastgru.load`, without those that are not set."""
        found = {name: getattr(self, name) for name in OF_READING}
        return {name: value for name, value in found.items() if not any(value is none for none in (None, False, ()))}

    def of(self, name: str) -> Self:
        """Return the settings of this model; its own options take precedence over the server's."""
        own = {model.name: model.options for model in self.models if isinstance(model, ModelFile)}
        return dataclasses.replace(self, models=(), **own.get(name, {}))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server, because it listens on loopback or on a Unix socket."""
        if self.unix is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def port_of_grpc(self) -> int:
        """The port of gRPC, 0 for none."""
        if self.grpc_port is not None:
            return self.grpc_port
        return _GRPC_PORT if self.port == _DEFAULT_ADDRESS[1] and self.unix is None else 0

    def _contradictions(self, named: Callable[[str], str]) -> list[str]:
        """Return the faults that only a combination of options has."""
        faults = []
        try:
            named_models(self.models)
        except SettingsError as error:
            faults.append(str(error))
        host, port, unix, grpc = map(named, ("host", "port", "unix", "grpc_port"))
        if self.unix is not None and (self.host, self.port) != _DEFAULT_ADDRESS:
            faults.append(f"{unix} takes the place of {host} and {port}: give one or the other")
        if self.grpc_port and self.unix is not None:
            faults.append(f"{grpc} is a port of {host}, whose place {unix} takes: give one or the other")
        if self.grpc_port and self.grpc_port == self.port:
            faults.append(f"{port} and {grpc} are both {self.port}: give gRPC another port")
        cert_and_key = f"{named('tls_cert')} and {named('tls_key')}"
        if (self.tls_cert is None) != (self.tls_key is None):
            faults.append(f"{cert_and_key} go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            faults.append(f"{named('tls_client_ca')} needs {cert_and_key}")
        if not self.is_local and self.api_key_file is None and not self.insecure:
            faults.append(
                f"{self.host} can be reached from other machines: give {named('api_key_file')}, or"
                f" {named('insecure')} for a server that anyone may use"
            )
        if self.state_dir is None:
            given = [
                name for name in _OF_STATE_DIR if getattr(self, name) != Settings.__dataclass_fields__[name].default
            ]
            faults += [f"{named(name)} needs {named('state_dir')}" for name in given]
        if self.max_body_bytes > self.max_in_flight_bytes:
            body, in_flight = named("max_body_bytes"), named("max_in_flight_bytes")
            faults.append(f"{body} is more than {in_flight}: such a request would never be taken")
        return faults


def named_models(models: Sequence[str | ModelFile]) -> dict[str, Path]:
    """Return {name: path} of "PATH", "NAME=PATH" and `ModelFile`s.

    Text before a "=" that cannot be a name belongs to the path: "./a=b.onnx" is a path. Raises `SettingsError` for an
    invalid name, for one that is given twice, and for an empty path.
    """
    found: dict[str, Path] = {}
    for model in models:
        text = f"{model.name}={model.path}" if isinstance(model, ModelFile) else model
        name, equals, path = text.partition("=")
        if not equals or not NAME.fullmatch(name):
            path = text
            name = Path(text).stem
            if not NAME.fullmatch(name):
                raise SettingsError(
                    f"{name!r}, the name of the file {text!r}, cannot be the name of a model, which has letters of"
                    " ASCII, digits and ._-: give NAME=PATH"
                )
        if not path:
            raise SettingsError(f"model {name!r} has no path; give NAME=PATH")
        if name in found:
            raise SettingsError(f"two models have the name {name!r}: {str(found[name])!r} and {path!r}; give NAME=PATH")
        found[name] = Path(path)
    return found


TEXTS: Final = (tuple[str, ...], tuple[str | ModelFile, ...])  # the types of fields that are lists
OF_READING: Final = tuple([f.name for f in Settings.__dataclass_fields__.values() if f.metadata.get("reads")])
_GRPC_PORT: Final = 8001  # as in Triton
_OF_STATE_DIR: Final = ("state_sync", "parked_seconds", "parked_sessions")
_DEFAULT_ADDRESS: Final = tuple([Settings.__dataclass_fields__[name].default for name in ("host", "port")])


def _fields() -> "tuple[dataclasses.Field[Any], ...]":
    return tuple(Settings.__dataclass_fields__.values())


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _fault(field: "dataclasses.Field[Any]", value: Any) -> str:
    """Return what is wrong with the value by itself, or ""."""
    given: Mapping[str, Any] = field.metadata
    if field.type in TEXTS:
        known = str | ModelFile if field.name == "models" else str
        if not isinstance(value, tuple) or not all(isinstance(item, known) for item in value):
            return "texts were expected"
        own = [
            (model, name, each)
            for model in value
            if isinstance(model, ModelFile)
            for name, each in model.options.items()
        ]
        for model, name, each in own:
            if fault := _fault(Settings.__dataclass_fields__[name], each):
                return f"{model.name}: {name} = {each!r}: {fault}"
        wrong = [item for item in value if field.name == "allow_origin" and not _ORIGIN.fullmatch(item)]
        return f"no origin, which is like https://example.org:8443: {', '.join(wrong)}" if wrong else ""
    if value is None and field.default is None:
        return ""
    kind = kind_of(field)
    wanted: Any = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or isinstance(value, bool) != (kind is bool):
        unit = given["unit"] and f", {given['unit']}"
        return f"{_KINDS[kind]}{unit} was expected"
    if "choices" in given and value not in given["choices"]:
        return f"one of {', '.join(map(str, given['choices']))} was expected"
    if kind in (int, float) and not given["least"] <= value < math.inf:
        return f"at least {given['least']} was expected"
    if field.name in ("port", "grpc_port") and value > 65_535:
        return "at most 65535 was expected"
    if field.name == "unix_mode" and not re.fullmatch(r"0?[0-7]{3}", value):
        return "three octal digits were expected, like 0660"
    return "an address was expected" if field.name == "host" and not value.strip() else ""


def kind_of(field: "dataclasses.Field[Any]") -> Any:
    """Return the type of the field's values, leaving None out."""
    kinds: dict[Any, Any] = {str | None: str, Path | None: Path, int | None: int}
    return kinds.get(field.type, field.type)


_KINDS: Final = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}
