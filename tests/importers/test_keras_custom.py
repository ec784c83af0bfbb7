"""Keras models with code of one's own, with functions and descriptions in its place; files and numbers are Keras's."""

import io
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgru.errors import (
    FunctionError,
    InvalidModelError,
    ShapeError,
    UnreadTensorsError,
    UnsupportedModelError,
)

pytest.importorskip("h5py")

from keras_files import archive, functional, layer, node

import fastgru
from fastgru import CustomLayer
from fastgru.simd.target import TARGET

DATA = Path(__file__).parents[1] / "data" / "keras"
KINDS = ["keras2-keras", "keras2-h5", "keras3-keras", "keras3-h5"]


def gain(x: Any, weights: Any) -> Any:
    scale, shift = weights.values()
    return x * scale + shift


def scaled(x: Any, by: float) -> Any:
    return x * by + 1


def blend(a: Any, b: Any) -> Any:
    return a * b - a


def cube(x: Any) -> Any:
    return x * x * x


FUNCTIONS = {"Gain": gain, "scaled": scaled, "Blend": blend, "cube": cube, "MyGRU": "GRU"}
MUL_SUB = {
    "inputs": ["a", "b"],
    "layers": [{"name": "ab", "type": "Mul", "inputs": ["a", "b"]}, {"type": "Sub", "inputs": ["ab", "a"]}],
}


def golden(kind: str) -> tuple[bytes, Any]:
    version, suffix = kind.split("-")
    with zipfile.ZipFile(DATA / f"{version}_custom.zip") as files:
        return files.read(f"own_code.{suffix}"), np.load(io.BytesIO(files.read("own_code.npz")))


@pytest.mark.parametrize("kind", KINDS)
def test_functions_give_the_numbers_of_keras(kind: str) -> None:
    file, arrays = golden(kind)
    model = fastgru.load(file, custom_objects=FUNCTIONS)
    np.testing.assert_allclose(model(arrays["in:x"]), arrays["out0"], atol=2e-6)
    assert [name.split(":")[0].replace("mine>", "") for name in model.python_layers] == [
        "layer 'gain' (Gain)",
        "layer 'scaled' (Lambda)",
        "layer 'blend' (Blend)",
        "layer 'head' (activation 'cube')",
    ]
    assert model.outputs[0].shape == (None, 2)
    assert fastgru.load(file, custom_objects=FUNCTIONS, precision="float64")(arrays["in:x"]).dtype == np.float64
    assert fastgru.verify(file, custom_objects=FUNCTIONS, runtimes=False).holds


@pytest.mark.parametrize("kind", KINDS)
def test_descriptions_become_part_of_the_program(kind: str, tmp_path: Path) -> None:
    file, arrays = golden(kind)
    first, second = ("vars/0", "vars/1") if kind == "keras3-keras" or kind == "keras2-keras" else ("scale", "shift")
    described = {
        "Gain": {
            "layers": [
                {"name": "scale", "type": "Parameter", "key": first},
                {"name": "shift", "type": "Parameter", "key": second},
                {"name": "up", "type": "Mul", "inputs": ["x", "scale"]},
                {"type": "Add", "inputs": ["up", "shift"]},
            ]
        },
        "scaled": CustomLayer({"layers": [{"type": "Affine", "scale": 2.0, "offset": 1.0}]}),
        "Blend": MUL_SUB,
        "cube": {"layers": [{"type": "Pow", "exponent": 3}]},
        "MyGRU": "GRU",
    }
    model = fastgru.load(file, custom_objects=described)
    assert model.python_layers == ()
    np.testing.assert_allclose(model(arrays["in:x"]), arrays["out0"], atol=2e-6)
    model.save(tmp_path / "m.safetensors")
    assert np.array_equal(fastgru.load(tmp_path / "m.safetensors")(arrays["in:x"]), model(arrays["in:x"]))


@pytest.mark.parametrize("kind", KINDS)
def test_one_refusal_names_everything(kind: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        fastgru.load(golden(kind)[0])
    message = str(caught.value).replace("mine>", "")
    for part in (
        "things in this model are not supported",
        "layer 'gain' (Gain): a class of your own",
        "layer 'scaled' (Lambda)",
        "marshalled Python code of",
        "never run",
        "arguments {'by': 2.0}",
        "layer 'blend' (Blend)",
        "layer 'rnn' (MyGRU)",
        "fastgru.load(source, custom_objects={'Gain': lambda x, weights: ...",
        "'scaled': lambda x, by: ...",
        "'Blend': lambda x, y: ...",
    ):
        assert part in message
    line = message[message.index("fastgru.load(") :]
    with pytest.raises(UnsupportedModelError, match=r"its function .*<lambda>"):
        eval(line, {"fastgru": fastgru, "source": golden(kind)[0]})


def small(*layers: dict[str, Any], arrays: Any = (), shape: Any = (None, None, 3)) -> bytes:
    first = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": list(shape), "dtype": "float32"}}
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [first, *layers]}}
    return archive(config, dict(arrays))


LAMBDA = layer("Lambda", "f", function={"class_name": "__lambda__", "config": {"code": "AAAA"}})
X = np.arange(18, dtype=np.float32).reshape(2, 3, 3)


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        (lambda x: x[:, :, :2], (None, None, 2), (2, 3, 2)),
        (lambda x: x.sum(axis=1), (None, 3), (2, 3)),
        (lambda x: x.reshape(len(x), -1), (None, None), (2, 9)),
        (lambda x: x.transpose(1, 0, 2), (None, None, 3), (3, 2, 3)),
        (lambda x: x.argmax(axis=-1), (None, None), (2, 3)),
        (lambda x: x[:, -1].astype(np.float64), (None, 3), (2, 3)),
    ],
)
def test_shapes_are_found_by_trying(function: Any, shape: Any, expected: Any) -> None:
    model = fastgru.load(small(LAMBDA), custom_objects={"f": function})
    assert model.outputs[0].shape == shape
    assert model(X).shape == expected
    assert np.array_equal(model(X), function(X))


def test_any_number_of_free_sizes_is_told_apart() -> None:
    names = ["a", "b", "c", "d", "e"]
    inputs = [node(layer("InputLayer", n, batch_shape=[None, None, None], dtype="float32")) for n in names]
    config = functional(
        *inputs,
        node(LAMBDA, [[n, 0, 0, {}] for n in names]),
        inputs=[[n, 0, 0] for n in names],
        outputs=[["f", 0, 0]],
    )
    model = fastgru.load(archive(config, {}), custom_objects={"f": lambda a, b, c, d, e: e[:, :, :2]})
    assert model.outputs[0].shape == (None, None, 2)
    xs = [np.ones((2, 3 + n, 4 + n), np.float32) for n in range(5)]
    assert model(*xs).shape == (2, 7, 2)


def test_a_mapping_of_outputs_and_what_is_said_of_a_function() -> None:
    def steps(x: Any) -> Any:
        if len(x) != 2:
            raise ValueError("rows in pairs")
        return x * 2

    with pytest.raises(UnsupportedModelError, match=r"layer 'f' \(Lambda\).*rows in pairs.*shape=") as caught:
        fastgru.load(small(LAMBDA), custom_objects={"f": steps})
    assert isinstance(caught.value.__cause__, ValueError)
    model = fastgru.load(small(LAMBDA), custom_objects={"f": CustomLayer(steps, shape=(None, None, 3))})
    assert np.array_equal(model(X), X * 2)
    with pytest.raises(
        FunctionError, match=r"layer 'f' \(Lambda\).*ValueError: rows in pairs.*float32 \(1, 3, 3\)"
    ) as e:
        model(X[:1])
    assert isinstance(e.value.__cause__, ValueError)
    wrong = fastgru.load(small(LAMBDA), custom_objects={"f": CustomLayer(lambda x: x[0], shape=(None, None, 3))})
    with pytest.raises(ShapeError, match=r"layer 'f' \(Lambda\).*output 0 has shape \(3, 3\), expected"):
        wrong(X)


def _undefined(x: Any) -> Any:
    return x / undefined  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("function", [lambda x, y: x, _undefined, lambda x: {}["a"], lambda x: None])
def test_a_shape_is_asked_for_only_where_it_helps(function: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=r"with random numbers to find the shape of its output$"):
        fastgru.load(small(LAMBDA), custom_objects={"f": function})


def test_an_output_that_nothing_reads_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"layer 'f' \(Lambda\).* returns 2 arrays, but the model reads"):
        fastgru.load(small(LAMBDA), custom_objects={"f": lambda x: (x, x + 1)})
    part = fastgru.load(small(LAMBDA), custom_objects={"f": lambda x: (x, x + 1)}, outputs=["f"])
    assert np.array_equal(part(X)[1], X + 1)


def test_inputs_cannot_be_written_to() -> None:
    def spoils(x: Any) -> Any:
        x[:] = 0
        return x

    with pytest.raises(UnsupportedModelError, match="read-only"):
        fastgru.load(small(LAMBDA), custom_objects={"f": spoils})


@pytest.mark.parametrize(
    ("objects", "error", "parts"),
    [
        ({"f": lambda x: x, "ff": lambda x: x}, InvalidModelError, ["'ff'", "did you mean f"]),
        ({"f": 3}, InvalidModelError, ["custom_objects['f']: got int, expected", "function of arrays"]),
        ({"f": CustomLayer}, InvalidModelError, ["is the class CustomLayer"]),
        ([1], InvalidModelError, ["custom_objects is [1]"]),
        ({"f": "gru"}, UnsupportedModelError, ["'gru'", "did you mean GRU"]),
        ({"f": lambda x: "text"}, UnsupportedModelError, ["layer 'f' (Lambda)", "expected an array of numbers"]),
        ({"f": lambda x: ...}, UnsupportedModelError, ["expected an array of numbers"]),
        ({"f": lambda: 1}, UnsupportedModelError, ["TypeError"]),
        ({"f": {"layers": ["Nothing"]}}, UnsupportedModelError, ["layer 'f' (Lambda)", "Nothing"]),
        ({"f": CustomLayer({"layers": ["ReLU"]}, per_step=True)}, InvalidModelError, ["apply only to functions"]),
        ({"f": CustomLayer(lambda x: x, shape="x")}, InvalidModelError, ["its shape in custom_objects is 'x'"]),
        ({"f": {"inputs": ["a", "b"], "layers": ["ReLU"]}}, UnsupportedModelError, ["2 inputs", "the layer has 1"]),
    ],
)
def test_what_is_no_custom_object(objects: Any, error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as caught:
        fastgru.load(small(LAMBDA), custom_objects=objects)
    for part in parts:
        assert part in str(caught.value)


def test_layers_and_models_of_this_package() -> None:
    rng = np.random.default_rng(0)
    fc = fastgru.Linear(rng.standard_normal((5, 3), dtype=np.float32), rng.standard_normal(5, dtype=np.float32))
    net = fastgru.Sequential(fc, fastgru.Tanh())
    for own in (net, fastgru.Model(net.to_graph(rank=3)), net.to_graph(rank=3)):
        model = fastgru.load(small(LAMBDA), custom_objects={"f": own})
        assert np.array_equal(model(X), net(X))
        assert model.outputs[0].shape == (None, None, 5)
    with pytest.raises(UnsupportedModelError, match="takes 'x' of shape"):
        fastgru.load(small(LAMBDA, shape=(None, None, 4)), custom_objects={"f": net})


def test_weights_that_nobody_asks_for_are_refused() -> None:
    mine = layer("Mine", "mine")
    mine |= {"module": "pack", "registered_name": "pack>Mine"}
    file = small(mine, arrays={"layers/mine/vars/0": np.ones(3, np.float32), "layers/mine/vars/1": X[0]})
    with pytest.raises(UnsupportedModelError, match=r"vars/0, vars/1.*a parameter `weights`"):
        fastgru.load(file, custom_objects={"Mine": lambda x: x})
    scale = {"layers": [{"type": "Parameter", "key": "vars/0"}, {"type": "Mul", "inputs": ["x", "vars/0"]}]}
    with pytest.raises(UnreadTensorsError, match="vars/1"):
        fastgru.load(file, custom_objects={"Mine": scale})
    model = fastgru.load(file, custom_objects={"Mine": {**scale, "ignore": ["vars/1"]}})
    assert np.array_equal(model(X), X)
    named = fastgru.load(file, custom_objects={"mine": lambda x, weights, config: x @ weights["vars/1"] + len(config)})
    assert np.allclose(named(X), X @ X[0] + 1)


def test_masks_are_asked_for() -> None:
    mine = layer("Mine", "mine") | {"module": "pack", "registered_name": "pack>Mine"}
    file = small(layer("Masking", "m", mask_value=0.0), mine, layer("GlobalAveragePooling1D", "mean"))
    x = X.copy()
    x[:, 2] = 0
    with pytest.raises(UnsupportedModelError, match=r"layer 'mine' \(Mine\): its input has a mask.*keeps_mask=True"):
        fastgru.load(file, custom_objects={"Mine": lambda x: x})
    for keeps, expected in ((True, x[:, :2].mean(1)), (False, x.mean(1))):
        custom = {"Mine": CustomLayer(lambda x: x, keeps_mask=keeps)}
        assert np.allclose(fastgru.load(file, custom_objects=custom)(x), expected)


def test_every_step_of_time_distributed() -> None:
    file = small(layer("TimeDistributed", "each", layer=layer("Lambda", "f", function=["AAAA", None, None])))
    model = fastgru.load(file, custom_objects={"f": lambda rows: rows.max(axis=-1, keepdims=True)})
    assert np.array_equal(model(X), X.max(-1, keepdims=True))
    with pytest.raises(UnsupportedModelError, match=r"layer 'f' \(Lambda\) inside layer 'each' \(TimeDistributed\)"):
        fastgru.load(file)


def streaming(stateful: bool = True) -> bytes:
    rng = np.random.default_rng(0)
    gru = layer("GRU", "gru", units=4, return_sequences=True, stateful=stateful, reset_after=True)
    shapes = {"layers/gru/cell/vars/0": (3, 12), "layers/gru/cell/vars/1": (4, 12), "layers/gru/cell/vars/2": (2, 12)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return small(LAMBDA, gru, arrays=arrays, shape=(1, None, 3))


def double(x: Any) -> Any:
    return x * 2


def test_streams_only_where_a_function_is_one_of_steps() -> None:
    x = X[:1]
    whole = fastgru.load(streaming(), custom_objects={"f": double})
    for make in (whole.stream, lambda: fastgru.SessionPool(whole, 4)):
        with pytest.raises(UnsupportedModelError, match=r"layer 'f' \(Lambda\) runs in Python.*per_step=True"):
            make()
    model = fastgru.load(streaming(), custom_objects={"f": CustomLayer(double, per_step=True)})
    expected = model.run({"x": x, "gru_state_in": np.zeros((1, 4))})["gru"]
    stream = model.stream()
    assert np.array_equal(np.concatenate([stream.push(x[:, t : t + 1]) for t in range(3)], axis=1), expected)
    saved = stream.save_state()
    other = fastgru.load(streaming(), custom_objects={"f": CustomLayer(double, per_step=True)}).stream()
    other.load_state(saved)
    assert np.array_equal(other.push(x), stream.push(x))


@pytest.mark.parametrize("shape", [None, (None, None, 3)])
def test_a_function_of_steps_stands_before_states_that_are_opened(shape: Any) -> None:
    objects = {"f": CustomLayer(double, shape=shape, per_step=True)}
    model = fastgru.load(streaming(stateful=False), custom_objects=objects, open_states=True)
    stream = model.stream()
    expected = fastgru.load(streaming(stateful=False), custom_objects=objects)(X[:1])
    assert np.array_equal(np.concatenate([stream.push(X[:1, t : t + 1]) for t in range(3)], axis=1), expected)


def test_a_function_whose_axes_are_not_known_is_named() -> None:
    named = r"layer 'f' \(Lambda\): \S*double runs in Python.*in custom_objects=, give a description of layers"
    for stateful in (True, False):
        model = fastgru.load(streaming(stateful), custom_objects={"f": double})
        with pytest.raises(UnsupportedModelError, match=named):
            model.predict([X[0], X[0, :2]])
    with pytest.raises(UnsupportedModelError, match=named):
        fastgru.load(streaming(stateful=False), custom_objects={"f": double}, open_states=True)
    described = {"f": {"layers": ["ReLU"]}}
    model = fastgru.load(streaming(stateful=False), custom_objects=described, open_states=True)
    assert model.graph.states
    assert len(model.predict([X[0], X[0, :2]])) == 2


def test_no_file_holds_a_function(tmp_path: Path) -> None:
    model = fastgru.load(small(LAMBDA), custom_objects={"f": double})
    for write in (lambda: model.save(tmp_path / "m.safetensors"), lambda: model.to_onnx(tmp_path / "m.onnx")):
        with pytest.raises(UnsupportedModelError, match=r"layer 'f' \(Lambda\).*custom_objects=.*inputs= and outputs="):
            write()
    assert not list(tmp_path.iterdir())
    assert np.array_equal(pickle.loads(pickle.dumps(model))(X), 2 * X)
    with pytest.raises(UnsupportedModelError, match="Python runs some of its nodes"):
        fastgru.quantize(model)
    assert len(model.fingerprint) == 64


def test_only_keras_files_take_custom_objects(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_text(json.dumps({"a": [1.0]}))
    with pytest.raises(UnsupportedModelError, match="custom_objects= does not apply"):
        fastgru.load(path, custom_objects={"f": double})


def test_commands_take_functions_and_descriptions(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from fastgru.cli import main

    def inspect(name: str) -> Any:
        return CliRunner().invoke(main, ["inspect", str(model), "--custom-objects", str(tmp_path / name)])

    model = tmp_path / "m.keras"
    model.write_bytes(small(LAMBDA))
    (tmp_path / "own.py").write_text("custom_objects = {'f': lambda x: x[:, 1:]}")
    (tmp_path / "own.yaml").write_text("f: {layers: [ReLU]}")
    (tmp_path / "bad.py").write_text("1 / 0")
    (tmp_path / "none.py").write_text("objects = {}")
    found = inspect("own.py")
    assert found.exit_code == 0, found.output
    assert "run in Python" in found.stdout
    assert "layer 'f' (Lambda): <lambda>" in found.stdout
    described = inspect("own.yaml")
    assert described.exit_code == 0, described.output
    assert "run in Python" not in described.stdout
    for name, fault in (
        ("bad.py", "ZeroDivisionError"),
        ("none.py", "got nothing, expected the dict custom_objects"),
    ):
        refused = inspect(name)
        assert refused.exit_code == 2
        assert fault in " ".join(refused.stderr.split())


def test_custom_objects_may_be_a_path_and_reach_the_processes_of_commands(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from fastgru.bench.cold import first_calls
    from fastgru.bench.model_file import file_problem
    from fastgru.cli import main

    model, own = tmp_path / "m.keras", tmp_path / "own.py"
    model.write_bytes(small(LAMBDA))
    own.write_text("custom_objects = {'f': lambda x: x * 2}")
    for path in (own, str(own)):
        assert np.array_equal(fastgru.load(model, custom_objects=path)(X), X * 2)
    with pytest.raises(InvalidModelError, match="expected a dict of layers by their names, or the path of a file"):
        fastgru.load(model, custom_objects=[1])
    assert first_calls(1, file_problem(model, {}, custom_objects=own), calls=3)["starts"] == 1
    short = ("--rounds", "1", "--turn-ms", "0.1", "--against", sys.executable)
    for command, *more in (("bench", *short), ("warmup", "--target", TARGET.name)):
        ran = CliRunner().invoke(main, [command, str(model), "--custom-objects", str(own), *more])
        assert ran.exit_code == 0, ran.output


def test_the_line_to_paste_has_the_whole_path(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    path = tmp_path / "m" / "it's.keras"
    path.write_bytes(small(LAMBDA))
    with pytest.raises(UnsupportedModelError) as caught:
        fastgru.load(path)
    message = str(caught.value)
    assert message.count("never run") == 1
    assert message.count(": ") == 4  # before the fault, before the line, in its dict, in its function
    line = message[message.index("fastgru.load(") :]
    assert repr(str(path)) in line
    model = eval(line.replace("...", "x + 1"), {"fastgru": fastgru})
    assert np.array_equal(model(X), X + 1)


@pytest.mark.parametrize("objects", [{"ff": abs}, {"f": abs, "ff": abs}, {"Blend": abs}])
def test_a_key_that_names_nothing_is_told_before_anything_is_refused(objects: Any) -> None:
    """Also where another layer is missing."""
    wrong = next(name for name in objects if name != "f")
    mine = layer("Mine", "mine") | {"module": "pack", "registered_name": "pack>Mine"}
    for file in (small(LAMBDA), small(LAMBDA, mine)):
        with pytest.raises(InvalidModelError, match=f"{wrong!r} is not the name of a layer of the model"):
            fastgru.load(file, custom_objects=objects)
    with pytest.raises(UnsupportedModelError, match=r"layer 'f' \(Lambda\)"):
        fastgru.load(small(LAMBDA, mine), custom_objects={"Mine": abs})


def test_a_handler_is_found_by_the_name_that_keras_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastgru.importers.keras import registry
    from fastgru.importers.keras.call import Tensor

    monkeypatch.setattr(registry, "_LAYERS", dict(registry._LAYERS))
    own = {**layer("GRU", "f"), "module": "mine", "registered_name": "corp>GRU"}
    with pytest.raises(UnsupportedModelError, match="a class of your own"):
        fastgru.load(small(own))
    registry.keras_layer("corp>GRU")(
        lambda call: [Tensor(call.graph.add("unary", [call.x.value], call.base, {"kind": "neg"}))]
    )
    assert np.array_equal(fastgru.load(small(own))(X), -X)
    with pytest.raises(UnsupportedModelError, match="a class of your own"):
        fastgru.load(small({**own, "registered_name": "other>GRU"}))


@pytest.mark.parametrize("name", ["m.onnx", "m.safetensors"])
def test_convert_refuses_a_function_by_name(name: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from fastgru.cli import main

    (tmp_path / "objects.py").write_text("custom_objects = {'f': lambda x: x * 2}\n")
    (tmp_path / "m.keras").write_bytes(small(LAMBDA))
    given = [str(tmp_path / each) for each in ("m.keras", name)]
    told = CliRunner().invoke(main, ["convert", *given, "--custom-objects", str(tmp_path / "objects.py")])
    assert "a file of a model cannot hold a function" in told.output
