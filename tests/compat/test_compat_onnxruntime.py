"""Programs written for onnxruntime, run as they are with only the import changed; and what is refused, by name."""

from __future__ import annotations

import importlib
import textwrap
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import fastgru
import fastgru.compat.onnxruntime as ours
from fastgru.errors import FastGRUError, InvalidModelError, ShapeError, UnsupportedModelError

FOLDER = Path(__file__).parent.parent / "data" / "onnx"
FILES = sorted(FOLDER.glob("*.onnx"))
BOTH = ("onnxruntime", "fastgru.compat.onnxruntime")


def feeds_of(path: Path) -> dict[str, np.ndarray]:
    name = path.stem.split("_")[0]
    with np.load(FOLDER / "golden.npz") as golden:
        return {key.removeprefix(f"{name}.in."): golden[key] for key in golden.files if key.startswith(f"{name}.in.")}


def run_program(program: str, package: str, **names: Any) -> dict[str, Any]:
    """What the program leaves in its namespace."""
    space = dict(names, np=np)
    exec(compile(f"import {package} as ort\n{textwrap.dedent(program)}", "program", "exec"), space)
    return space


def small(dtype: int = TensorProto.FLOAT, **more: Any) -> bytes:
    """y = x + w (free shapes), ids2 = ids."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"]), helper.make_node("Identity", ["ids"], ["ids2"])],
        "named",
        [
            helper.make_tensor_value_info("x", dtype, ["N", None, 3]),
            helper.make_tensor_value_info("ids", TensorProto.INT64, [2]),
            *more.pop("inputs", ()),
        ],
        [
            helper.make_tensor_value_info("y", dtype, ["N", None, 3]),
            helper.make_tensor_value_info("ids2", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor("w", dtype, [3], [1.0, 2.0, 3.0])],
        doc_string="of the graph",
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="hand")
    model.doc_string, model.domain, model.model_version = "of the model", "some.where", 3
    helper.set_model_props(model, {"key": "value"})
    return model.SerializeToString()


SERVING = """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])
    inputs = [(a.name, a.type, a.shape) for a in session.get_inputs()]
    outputs = [(a.name, a.type) for a in session.get_outputs()]
    everything = session.run(None, feeds)
    last = session.run([outputs[-1][0]], feeds, ort.RunOptions())
    values = {name: ort.OrtValue.ortvalue_from_numpy(a) for name, a in feeds.items()}
    through_values = [v.numpy() for v in session.run_with_ort_values(None, values)]

    binding = session.io_binding()
    for name, a in feeds.items():
        binding.bind_cpu_input(name, a)
    for (name, _), a in zip(outputs, everything):
        binding.bind_output(name)
    session.run_with_iobinding(binding)
    bound = binding.copy_outputs_to_cpu()
    shapes = [v.shape() for v in binding.get_outputs()]
    into = [np.full_like(a, 9) for a in everything]
    for (name, _), a in zip(outputs, into):
        binding.bind_output(name, "cpu", 0, a.dtype.type, a.shape, a.ctypes.data)
    session.run_with_iobinding(binding)
    providers, device = session.get_providers(), ort.get_device()
"""


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_serving_program_runs_unchanged(path):
    feeds = feeds_of(path)
    theirs, mine = (run_program(SERVING, package, path=str(path), feeds=feeds) for package in BOTH)
    for name in ("inputs", "outputs", "shapes", "providers"):
        assert mine[name] == theirs[name], name
    assert mine["device"] == "CPU"
    for name in ("everything", "last", "through_values", "bound", "into"):
        assert len(mine[name]) == len(theirs[name])
        for a, b in zip(mine[name], theirs[name], strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert np.abs(b).max() > 0.01
            np.testing.assert_allclose(a, b, atol=1e-5)
    for a, b in zip(mine["everything"], mine["into"], strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_bound_changes_while_it_runs():
    """Another thread binds other arrays: every run has those that were bound when it began."""
    path = FILES[0]
    session = ours.InferenceSession(str(path))
    feeds = feeds_of(path)
    want = session.run(None, feeds)
    names = [arg.name for arg in session.get_outputs()]
    binding, done = session.io_binding(), threading.Event()

    def bind() -> None:
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array.copy())
        for name in names:
            binding.bind_output(name)

    def rebind() -> None:
        while not done.is_set():
            bind()

    bind()
    thread = threading.Thread(target=rebind)
    thread.start()
    try:
        for _ in range(300):
            binding.run()
            for array, expected in zip(binding.copy_outputs_to_cpu(), want, strict=True):
                np.testing.assert_array_equal(array, expected)
    finally:
        done.set()
        thread.join()


STREAMING = """
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    h = np.zeros((num_layers, x.shape[1], session.get_inputs()[1].shape[2]), np.float32)
    frames = []
    for frame in x:
        y, h = session.run(["y", "hn"], {"x": frame[None], "h0": h})
        frames.append(y)
"""


@pytest.mark.parametrize("path", [p for p in FILES if p.stem.startswith("denoiser")], ids=lambda p: p.stem)
def test_a_streaming_program_gives_the_bits_of_our_stream(path):
    feeds = feeds_of(path)
    x = np.random.default_rng(0).standard_normal((20, *feeds["x"].shape[1:])).astype(np.float32)
    stream = fastgru.load(path).stream(x.shape[1])
    got = run_program(STREAMING, BOTH[1], path=path, x=x, num_layers=len(feeds["h0"]))
    for frame, y in zip(x, got["frames"], strict=True):
        np.testing.assert_array_equal(stream.push(frame[None]), y)


X, IDS = np.ones((1, 2, 3), np.float32), np.zeros(2, np.int64)
WRONG_FEEDS = {
    "missing": {"x": X},
    "unknown": {"x": X, "ids": IDS, "q": X},
    "dtype": {"x": X.astype("f8"), "ids": IDS},
    "integers": {"x": X, "ids": IDS.astype("i4")},
    "rank": {"x": X[0], "ids": IDS},
    "size": {"x": np.ones((1, 2, 4), np.float32), "ids": IDS},
    "sizes": {"x": X, "ids": np.zeros(3, np.int64)},
    "none": {"x": None, "ids": IDS},
}


def caught(call: Any, *args: Any) -> Exception:
    with pytest.raises(Exception) as error:
        call(*args)
    return error.value


@pytest.mark.parametrize("wrong", WRONG_FEEDS)
def test_wrong_inputs_are_the_same_errors(wrong):
    errors = []
    for package in BOTH:
        module = importlib.import_module(package)
        options = module.SessionOptions()
        options.log_severity_level = 4
        session = module.InferenceSession(small(), options, providers=["CPUExecutionProvider"])
        errors.append(caught(session.run, None, WRONG_FEEDS[wrong]))
    theirs, mine = errors
    assert isinstance(mine, FastGRUError)
    if type(theirs) is ValueError:
        assert isinstance(mine, ValueError)
        assert str(mine) == str(theirs)
        return
    state = importlib.import_module(f"{BOTH[1]}.capi.onnxruntime_pybind11_state")
    assert isinstance(mine, getattr(state, type(theirs).__name__))
    if wrong != "none":  # theirs names a line of its sources
        assert str(mine).split() == str(theirs).split()


@pytest.mark.parametrize("feed", [[X, IDS], (), X, None])
def test_a_feed_without_names_is_refused(feed):
    session = ours.InferenceSession(small())
    for call, more in ((session.run, ()), (session.run_async, (print, None)), (session.run_with_ort_values, ())):
        with pytest.raises(TypeError, match=f"input_feed: got {type(feed).__name__}, expected a dict .*: x, ids,"):
            call(None, feed, *more)
    with pytest.raises(ours.onnxruntime_pybind11_state.RuntimeException, match="input x: got an array of str"):
        session.run(None, {"x": "text", "ids": IDS})


@pytest.mark.parametrize("names", ["y", 3, {"x": X}, [3]])
def test_names_of_outputs_are_a_list(names):
    session = ours.InferenceSession(small())
    with pytest.raises(TypeError, match=f"output_names: got {type(names).__name__}, expected None or a list"):
        session.run(names, {"x": X, "ids": IDS})
    every = session.run(None, {"x": X, "ids": IDS})
    names = (arg.name for arg in session.get_outputs())
    np.testing.assert_equal(session.run(names, {"x": X, "ids": IDS}), every)


def test_wrong_files_are_the_same_errors(tmp_path):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    state = ours.capi.onnxruntime_pybind11_state
    theirs = importlib.import_module(BOTH[0])
    for source, error, root in (
        (str(tmp_path / "nothing.onnx"), state.NoSuchFile, FileNotFoundError),
        (damaged, state.InvalidProtobuf, InvalidModelError),
        (b"garbage", state.InvalidProtobuf, InvalidModelError),
        (b"", state.InvalidArgument, ShapeError),
        (3, TypeError, TypeError),
    ):
        mine = caught(ours.InferenceSession, source)
        assert isinstance(mine, error)
        assert isinstance(mine, root)
        other = caught(theirs.InferenceSession, source)
        assert type(other).__name__ == error.__name__
        assert str(source) not in str(other) or f"Load model from {source} failed" in str(mine)
    for package in BOTH:
        module = importlib.import_module(package)
        with pytest.raises(module.capi.onnxruntime_pybind11_state.InvalidGraph, match="Mystery1"):
            module.InferenceSession(small().replace(b"Identity", b"Mystery1"))


def test_the_model_is_described_as_the_file_does():
    theirs, mine = (importlib.import_module(package).InferenceSession(small()) for package in BOTH)
    for get in ("get_inputs", "get_outputs", "get_overridable_initializers"):
        described = [[(a.name, a.type, a.shape) for a in getattr(session, get)()] for session in (theirs, mine)]
        assert described[0] == described[1]
    for name in ("producer_name", "graph_name", "domain", "description", "graph_description", "version"):
        assert getattr(mine.get_modelmeta(), name) == getattr(theirs.get_modelmeta(), name)
    assert mine.get_modelmeta().custom_metadata_map == theirs.get_modelmeta().custom_metadata_map == {"key": "value"}


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_outputs_keep_the_dtype_of_the_file(dtype):
    x = (np.arange(6) / 7).reshape(1, 2, 3).astype(helper.tensor_dtype_to_np_dtype(dtype))
    results = []
    for package in BOTH:
        module = importlib.import_module(package)
        session = module.InferenceSession(small(dtype))
        out = np.full_like(x, 9)
        binding = session.io_binding()
        binding.bind_cpu_input("x", x)
        binding.bind_cpu_input("ids", IDS)
        binding.bind_ortvalue_output("y", module.OrtValue.ortvalue_from_numpy(out))
        session.run_with_iobinding(binding)
        results.append((session.run(["y"], {"x": x, "ids": IDS})[0], out))
        with pytest.raises(Exception, match="Unexpected input data type"):
            session.run(["y"], {"x": X, "ids": IDS})
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype == x.dtype
        np.testing.assert_array_equal(a, b)


def test_bound_memory_is_read_and_written_where_it_lies():
    session = ours.InferenceSession(small())
    x, y = X.copy(), np.zeros_like(X)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_input("ids", "cpu", 0, TensorProto.INT64, IDS.shape, IDS.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
    for value in (1, 5):
        x[...] = value
        session.run_with_iobinding(binding)
        np.testing.assert_array_equal(y, x + np.float32([1, 2, 3]))
    assert binding.get_outputs()[0].data_ptr() == y.ctypes.data
    binding.bind_output("y", "cpu", 0, np.float32, (7,), y.ctypes.data)
    with pytest.raises(RuntimeError, match=r"Error in execution: .*expected float32 \(1, 2, 3\)"):
        session.run_with_iobinding(binding)
    binding.clear_binding_outputs()
    for call in (
        lambda: session.run_with_iobinding(binding),
        lambda: binding.bind_cpu_input("nothing", x),
        lambda: binding.bind_output("nothing"),
    ):
        assert isinstance(caught(call), RuntimeError)
    with pytest.raises(UnsupportedModelError, match="cuda"):
        binding.bind_output("y", "cuda", 0)


def test_an_ortvalue_shares_its_memory():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for package in BOTH:
        value = importlib.import_module(package).OrtValue.ortvalue_from_numpy(array)
        assert (value.shape(), value.data_type(), value.element_type()) == ([2, 3], "tensor(float)", 1)
        assert (value.device_name(), value.is_tensor(), value.tensor_size_in_bytes()) == ("cpu", True, 24)
        value.update_inplace(np.full((2, 3), 7, np.float32))
        assert array[1, 2] == 7
        assert np.asarray(value)[0, 0] == 7
        with pytest.raises(RuntimeError, match="does not match the size"):
            value.update_inplace(np.zeros(5, np.float32))


def test_threads_and_free_dimensions_are_honoured():
    options = ours.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_free_dimension_override_by_name("N", 4)
    session = ours.InferenceSession(small(), options)
    assert session._model.threads == 2
    assert session.get_inputs()[0].shape == [4, None, 3]
    with pytest.raises(ours.onnxruntime_pybind11_state.InvalidArgument, match="index: 0 Got: 1 Expected: 4"):
        session.run(None, {"x": X, "ids": IDS})
    assert ours.InferenceSession(small())._model.threads == 1


def test_what_would_change_results_is_refused_by_name():
    options, run_options = ours.SessionOptions(), ours.RunOptions()
    for name, call in {
        "register_custom_ops_library": lambda: options.register_custom_ops_library("x.so"),
        "optimized_model_filepath": lambda: setattr(options, "optimized_model_filepath", "x.onnx"),
        "enable_profiling": lambda: setattr(options, "enable_profiling", True),
        "ep.context_enable": lambda: options.add_session_config_entry("ep.context_enable", "1"),
        "load_model_format": lambda: options.add_session_config_entry("session.load_model_format", "ORT"),
        "CUDAExecutionProvider": lambda: options.add_provider("CUDAExecutionProvider", {}),
        "add_active_adapter": lambda: run_options.add_active_adapter(None),
    }.items():
        with pytest.raises(UnsupportedModelError, match=name):
            call()
    options.enable_profiling = False
    for call in (
        lambda: setattr(options, "no_such_option", 1),
        lambda: setattr(run_options, "no_such_option", 1),
        lambda: options.no_such_option,
    ):
        assert isinstance(caught(call), AttributeError)
    for call in (
        lambda: setattr(options, "intra_op_num_threads", "2"),
        lambda: setattr(options, "graph_optimization_level", 99),
        lambda: setattr(options, "enable_mem_pattern", "yes"),
        lambda: ours.InferenceSession(small(), no_such_option=1),
        lambda: ours.InferenceSession(small()).run("y", {"x": X, "ids": IDS}),
    ):
        assert isinstance(caught(call), TypeError)
    run_options.terminate = True
    with pytest.raises(ours.onnxruntime_pybind11_state.Fail, match="terminate"):
        ours.InferenceSession(small()).run(None, {"x": X, "ids": IDS}, run_options)


def test_a_provider_that_is_not_there_is_passed_over_aloud():
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        session = ours.InferenceSession(small(), providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]
    for wrong, match in (
        (["CUDAExecutionProvider"], "CUDAExecutionProvider"),
        (["Some"], "Unknown Provider Type: Some"),
        ("CPUExecutionProvider", "sequence"),
        ([3], "strings"),
        ([("CPUExecutionProvider", {"some_option": 1})], "some_option"),
        (["CPUExecutionProvider", "CPUExecutionProvider"], "Duplicate"),
    ):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert ours.InferenceSession(small(), providers=wrong).get_providers() == ["CPUExecutionProvider"]
        assert match in str(told[-1].message)
    with pytest.warns(UserWarning, match="CUDA"):
        session.set_providers(["CUDAExecutionProvider"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="Unknown Provider Type: Some"):
            session.set_providers(["Some"])
        with pytest.raises(ValueError, match="sequence"):
            ours.InferenceSession(small(), providers="CPUExecutionProvider", enable_fallback=0)


def test_an_initializer_that_is_also_an_input_can_be_fed():
    listed = small(inputs=[helper.make_tensor_value_info("w", TensorProto.FLOAT, [3])])
    feeds = {"x": X, "ids": IDS, "w": np.float32([5, 6, 7])}
    for package in BOTH:
        session = importlib.import_module(package).InferenceSession(listed)
        assert [a.name for a in session.get_inputs()] == ["x", "ids"]
        assert [(a.name, a.shape, a.type) for a in session.get_overridable_initializers()] == [
            ("w", [3], "tensor(float)")
        ]
        for _ in range(2):
            np.testing.assert_array_equal(session.run(["y"], feeds)[0], X + feeds["w"])
            np.testing.assert_array_equal(session.run(["y"], {"x": X, "ids": IDS})[0], X + np.float32([1, 2, 3]))
        with pytest.raises(Exception, match="Unexpected input data type"):
            session.run(["y"], {**feeds, "w": np.float64([5, 6, 7])})
        old = importlib.import_module(package).InferenceSession(listed.replace(b"\x08\x08", b"\x08\x03", 1))
        assert old.get_overridable_initializers() == []
        with pytest.raises(Exception, match="Invalid input name: w"):
            old.run(["y"], feeds)
