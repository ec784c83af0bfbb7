"""The options of the server: one list, from which the command line, `serve.yaml` and the pages are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastgru.errors import FastGRUError
from fastgru.load import Reading
from fastgru.serve.settings import OF_READING, Settings, SettingsError, named_models
from fastgru.serve.settings_file import read_settings, read_value


def test_nothing_has_to_be_given() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.capacity, settings.idle_seconds) == ("127.0.0.1", 8000, 16384, 300)
    assert settings.is_local
    assert settings.max_body_bytes == 16 * 1024 * 1024


def test_every_field_has_its_description_and_unit() -> None:
    for name, field in Settings.__dataclass_fields__.items():
        assert field.metadata["doc"].endswith("."), name
        assert field.metadata["unit"] in ("", "seconds", "bytes")
        assert (field.metadata["unit"] == "seconds") == name.endswith("_seconds")
        assert (field.metadata["unit"] == "bytes") == name.endswith("_bytes")
        assert field.type not in (int, float) or "least" in field.metadata


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"port": "x"}, "port = 'x': a whole number was expected"),
        ({"port": 70_000}, "at most 65535"),
        ({"port": True}, "a whole number"),
        ({"host": ""}, "an address"),
        ({"threads": 0}, "at least 1"),
        ({"idle_seconds": float("nan")}, "at least 0.001"),
        ({"idle_seconds": float("inf")}, "at least 0.001"),
        ({"deadline_seconds": "soon"}, "a number, seconds was expected"),
        ({"insecure": 1}, "true or false"),
        ({"precision": "float8"}, "one of float64, float32, bfloat16, int8, auto, auto-int8 was expected"),
        ({"log_format": "xml"}, "one of text, json was expected"),
        ({"allow_origin": ("example.org",)}, "no origin.*example.org"),
        ({"allow_origin": "https://example.org"}, "texts were expected"),
        ({"allow_origin": ("https://example.org/",)}, "no origin"),
        ({"unix_mode": "0999"}, "octal"),
        ({"unix_mode": "4755"}, "octal"),
        ({"unix": "a"}, "a path was expected"),
        ({"tls_cert": Path("a")}, "go together"),
        ({"unix": Path("a"), "port": 8001}, "give one or the other"),
        ({"unix": Path("a"), "host": "::1"}, "give one or the other"),
        ({"tls_client_ca": Path("a")}, "needs tls_cert"),
        ({"models": ("a.onnx", "b/a.onnx")}, "two models have the name 'a'"),
        ({"models": ("a b.onnx",)}, "cannot be the name.*NAME=PATH"),
        ({"models": ("a=",)}, "'a' has no path"),
        ({"max_body_bytes": 2 << 30}, "more than max_in_flight_bytes"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        Settings(**given)
    assert isinstance(caught.value, FastGRUError)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"port = -1.*threads = 0"):
        Settings(port=-1, threads=0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org"])
def test_a_bind_that_others_reach_needs_keys(host: str) -> None:
    with pytest.raises(SettingsError, match=f"{host} can be reached.*api_key_file, or insecure"):
        Settings(host=host)
    assert not Settings(host=host, insecure=True).is_local
    assert not Settings(host=host, api_key_file=Path("keys")).is_local
    assert Settings(unix=Path("a.sock")).is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert Settings(host=host).is_local


def test_models_have_the_names_of_their_files_or_those_given() -> None:
    assert named_models(["a/b.onnx", "c=d e.keras"]) == {"b": Path("a/b.onnx"), "c": Path("d e.keras")}
    assert named_models(["c=./a=b.onnx"]) == {"c": Path("./a=b.onnx")}
    with pytest.raises(SettingsError, match="'a=b'"):
        named_models(["./a=b.onnx"])


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_body_bytes", "16 MiB", 16 << 20),
        ("max_body_bytes", "2gib", 2 << 30),
        ("max_body_bytes", "4096", 4096),
        ("max_body_bytes", "4 MB", "4 MB"),
        ("idle_seconds", "1.5", 1.5),
        ("idle_seconds", 2, 2.0),
        ("port", "80", 80),
        ("port", "http", "http"),
        ("unix_mode", 0o660, "0660"),
        ("unix", "a", Path("a")),
        ("allow_origin", "https://a", ("https://a",)),
        ("models", {"a": "b.onnx"}, ("a=b.onnx",)),
    ],
)
def test_text_is_read(name: str, text: Any, value: Any) -> None:
    assert read_value(name, text) == value


def test_a_file_says_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(
        "models: {gru: gru.onnx, other: /models/other.keras}\nport: 8080\nmax-body-bytes: 1 MiB\nidle_seconds: 60\n"
        "tls_cert: run/c.pem\ntls_key: k.pem\nunix_mode: 0660\nallow_origin: https://example.org\ninsecure: yes\n"
    )
    settings = read_settings(path, port=9000)
    assert settings.models == (f"gru={tmp_path / 'gru.onnx'}", "other=/models/other.keras")
    assert (settings.port, settings.max_body_bytes, settings.idle_seconds) == (9000, 1 << 20, 60.0)
    assert (settings.tls_cert, settings.unix_mode) == (tmp_path / "run/c.pem", "0660")
    assert (settings.allow_origin, settings.insecure) == (("https://example.org",), True)


def test_a_model_may_have_options_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(
        "models:\n  gru: gru.onnx\n"
        "  tagger: {path: t.pt, architecture: t.yaml, key: a.b, precision: int8, open-states: yes}\n"
        "threads: 2\nprecision: auto\n"
    )
    settings = read_settings(path)
    assert named_models(settings.models) == {"gru": tmp_path / "gru.onnx", "tagger": tmp_path / "t.pt"}
    assert settings.of("gru").reading == {"threads": 2, "precision": "auto"}
    own = {"architecture": tmp_path / "t.yaml", "key": "a.b", "open_states": True}
    assert settings.of("tagger").reading == {"threads": 2, "precision": "int8", **own}
    assert Settings(linear_before_reset=0).reading == {"threads": 1, "linear_before_reset": 0}
    assert settings.of("elsewhere").reading == settings.of("gru").reading
    given = read_settings(path, precision="float32").of("tagger").reading  # what is given goes before the file
    assert given == {"threads": 2, "precision": "float32", **own}


def test_every_option_of_load_is_one_of_the_server() -> None:
    assert ("precision", *[n for n in OF_READING if n in Reading.__annotations__], "threads") == OF_READING
    assert Reading.__annotations__.keys() <= set(OF_READING)


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "serve.yaml").write_text("# nothing\n")
    assert read_settings(tmp_path / "serve.yaml") == Settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prot: 80\nidle: 3\n", "no option is called 'prot', 'idle'; the options are models, host, port"),
        ("- a\n", "got list, expected a mapping of options"),
        ("a: [\n", "not YAML"),
        ("port: http\n", "port = 'http'"),
        ("models: [1]\n", "texts"),
        ("max-headers: 1\nmax_headers: 2\n", "twice"),
        ("models: [a.onnx, b/a.onnx]\n", "two models"),
        (
            "models: {a: {path: a.pt, prt: 1}}\n",
            "models: a: a model has no option prt; its options are precision, open_states",
        ),
        ("models: {a: {path: a.pt, port: 1}}\n", "a model has no option port"),
        ("models: {a: {key: b}}\n", "models: a: expected the path of a file, or a mapping with path"),
        ("models: {a: {path: a.pt, precision: int9}}\n", "a: precision = 'int9': one of float64"),
        (
            "models: {a: {path: a.onnx, linear_before_reset: 2}}\n",
            "a: linear_before_reset = 2: one of 0, 1 was expected",
        ),
        ("!!python/object/apply:os.system ['true']\n", "not YAML"),
        ("port: !!timestamp x\n", "not YAML"),
        ("port: !!bool xyz\n", "not YAML"),
        ("port: !!int ''\n", "not YAML"),
        ("[" * 5000, "not YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=message) as caught:
        read_settings(path)
    assert str(path) in str(caught.value)
