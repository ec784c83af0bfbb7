"""The interface of onnxruntime's Python package beyond running a model: what programs and libraries ask of it.

onnxruntime's own tests of its Python interface (onnxruntime_test_python.py) were read for what they ask. What a GRU
engine has a use for is asked here in words of our own, most of it of both packages. The rest, with the reason:

    strings as inputs (6 tests)                 a tensor of strings is refused when the session is made
    sequences and optionals (4)                 the same for values that are no dense tensors
    sparse tensors (2)                          `SparseTensor` is refused by name
    optimised models on disk (5)                `optimized_model_filepath` is refused; `Model.save` is the way round
    profiles (2), options stored in a model     `enable_profiling` is refused; `fastgru bench` measures
    custom operators, tree ensembles (2)        only ONNX's own operators are implemented
    adapters (2)                                `AdapterFormat` and `LoraAdapter` are refused by name
    graph assignment (1)                        the entry that asks for it is refused: every node runs on the CPU
    tuning results, copy streams, TVM, TensorRT, several devices (5)   need hardware that is not the CPU
    an output's `base` (1)                      says how memory is owned in C++: outputs here are arrays of their own
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from ort_models import BOTH, X, info, model, scaled

import fastgru.compat.onnxruntime as ours


def test_the_package_says_what_it_is(ort):
    state = importlib.import_module(f"{ort.__name__}.capi._pybind_state")
    assert ort.get_version_string()
    assert "Build Info" in ort.get_build_info() == state.get_build_info()
    assert ort.get_all_providers()[-1] == "CPUExecutionProvider"
    assert ort.get_device() == "CPU"
    assert not ort.has_collective_ops()
    ours.set_global_thread_pool_sizes(1, 1)  # of theirs it would be for good
    ort.disable_telemetry_events()
    ort.enable_telemetry_events()
    ort.print_debug_info()
    names, options = importlib.import_module(f"{ort.__name__}.capi.onnxruntime_validation"), ort.SessionOptions()
    assert len(names.get_package_name_and_version_info()) == 3
    assert type(state.get_default_session_options()) is type(options)


def test_a_session_says_where_it_reads_and_writes(ort):
    session = ort.InferenceSession(scaled(), providers=["CPUExecutionProvider"])
    assert [(a.name, a.shape) for a in session.get_inputs()] == [("x", [3, 2])]
    for memory in (*session.get_input_memory_infos(), *session.get_output_memory_infos()):
        assert (memory.name, memory.device_id, memory.device_vendor_id) == ("Cpu", 0, 0)
        assert memory.mem_type == ort.OrtMemType.DEFAULT
    assert len(session.get_input_epdevices()) == 1
    assert session.end_profiling() == ""
    assert session.get_profiling_start_time_ns() == 0
    assert session.get_tuning_results() == []
    state = importlib.import_module(f"{ort.__name__}.capi.onnxruntime_pybind11_state")
    with pytest.raises(state.Fail, match="record_ep_graph_assignment_info' must be set"):
        session.get_provider_graph_assignment_info()


def test_run_async_calls_back(ort):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session, done, found = ort.InferenceSession(scaled(), options), threading.Event(), []

    def back(results: Any, data: Any, error: str) -> None:
        found.append((results, data, error))
        done.set()

    for names, feed in ((["y"], X), (None, X), (["y"], X[:1]), (["nothing"], X)):
        done.clear()
        session.run_async(names, {"x": feed}, back, "mine")
        assert done.wait(60)
    assert [data for _, data, _ in found] == ["mine"] * 4
    for results, _, error in found[:2]:
        assert error == ""
        np.testing.assert_array_equal(results[0], X * X)
    assert [results for results, _, _ in found[2:]] == [[], []]
    assert "Got invalid dimensions for input: x" in found[2][2]
    assert found[3][2] == "Invalid output name: nothing"
    with pytest.raises(ValueError, match=r"Required inputs \(\['x'\]\) are missing"):
        session.run_async(None, {}, back, None)
    options.intra_op_num_threads = 1
    with pytest.raises(Exception, match="must have at least one thread for RunAsync"):
        ort.InferenceSession(scaled(), options).run_async(None, {"x": X}, back, None)


def test_a_callback_that_raises_ends_nothing(capsys):
    session, done = ours.InferenceSession(scaled()), threading.Event()

    def back(results: Any, data: Any, error: str) -> None:
        done.set()
        raise ValueError("of the callback")

    session.run_async(None, {"x": X}, back, None)
    assert done.wait(60)
    session._workers.shutdown()
    assert "of the callback" in capsys.readouterr().err
    with pytest.raises(TypeError, match="callback"):
        session.run_async(None, {"x": X}, None, None)


def test_what_a_session_tells_goes_to_the_callback(ort, monkeypatch):
    told: list[tuple[Any, ...]] = []
    ort.set_default_logger_callback(lambda *record: told.append(record), severity=0)
    try:
        session = ort.InferenceSession(scaled(), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(["y"], {"x": X})[0], X * X)
        assert told
        for severity, *texts in told:
            assert isinstance(severity, int)
            assert [type(text) for text in texts] == [str] * 4
        for callback, severity in ((print, 5), (print, -1), ("no function", 2)):
            with pytest.raises(RuntimeError):
                ort.set_default_logger_callback(callback, severity=severity)

        def fails(*record: Any) -> None:
            raise ValueError("of the callback")

        ort.set_default_logger_callback(fails, severity=0)
        monkeypatch.setattr(sys, "unraisablehook", lambda report: None)  # pytest makes a warning of it
        ort.InferenceSession(scaled(), providers=["CPUExecutionProvider"])
    finally:
        ort.set_default_logger_callback(None)
        ort.set_default_logger_severity(2)
    before = len(told)
    session.run(None, {"x": X})
    assert len(told) == before


def test_a_callback_is_told_no_less_than_it_asked_for():
    told: list[int] = []
    try:
        for severity, expected in ((1, {1}), (2, set()), (4, set())):
            told.clear()
            ours.set_default_logger_callback(lambda *record: told.append(record[0]), severity)
            ours.InferenceSession(scaled())
            assert set(told) == expected
        options = ours.SessionOptions()
        options.log_severity_level = 0
        ours.InferenceSession(scaled(), options)
        assert set(told) == {1}
    finally:
        ours.set_default_logger_callback(None)
        ours.set_default_logger_severity(2)


def test_provider_arguments_are_brought_to_one_form(ort):
    collection = importlib.import_module(f"{ort.__name__}.capi.onnxruntime_inference_collection")
    check, there = collection.check_and_normalize_provider_args, ["a", "b", "c"]
    assert check(None, None, there) == ([], [])
    assert check(["a", "b"], None, there) == (["a", "b"], [{}, {}])
    assert check([("a", {1: 2}), "b"], None, there) == (["a", "b"], [{"1": "2"}, {}])
    assert check(["a", "b"], [{1: 2}, {}], there) == (["a", "b"], [{"1": "2"}, {}])
    with pytest.warns(UserWarning, match="Duplicate provider 'a'"):
        assert check(["a", "b", "a"], [{"x": 1}, {}, {"y": 2}], there) == (["a", "b"], [{"x": "1"}, {}])
    with pytest.warns(UserWarning, match="'d' is not in available provider names"):
        assert check(["d"], None, there) == (["d"], [{}])
    for wrong in ((3, None), ([3], None), (["a"], 3), (["a"], ["no"]), (["a", "b"], [{}]), ([("a", {1: 2})], [{3: 4}])):
        with pytest.raises(ValueError):
            check(*wrong, there)


def test_free_dimensions_are_fixed_by_name_and_denotation(ort):
    x, y = (info(name, TensorProto.FLOAT, ["N", "C", None]) for name in "xy")
    for denotation, dim in zip(("DATA_BATCH", "DATA_CHANNEL", ""), x.type.tensor_type.shape.dim, strict=True):
        dim.denotation = denotation
    data = model([helper.make_node("Abs", ["x"], ["y"])], [x], [y])
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_denotation("DATA_BATCH", 3)
    options.add_free_dimension_override_by_denotation("DATA_CHANNEL", 5)
    session = ort.InferenceSession(data, options)
    assert session.get_inputs()[0].shape == [3, 5, None]
    with pytest.raises(Exception, match="index: 1 Got: 4 Expected: 5"):
        session.run(None, {"x": np.ones((3, 4, 1), np.float32)})
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_name("C", 6)
    assert ort.InferenceSession(data, options).get_inputs()[0].shape == ["N", 6, None]


def test_a_size_that_is_fixed_is_known_when_the_model_is_read():
    """A linear layer over a flattened window: without the size no weight fits it."""
    weight = numpy_helper.from_array(np.ones((6, 2), np.float32), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    data = model(nodes, [info("x", TensorProto.FLOAT, ["N", "T", 2])], [info("y", TensorProto.FLOAT, None)], [weight])
    options = ours.SessionOptions()
    options.add_free_dimension_override_by_name("T", 3)
    session = ours.InferenceSession(data, options)
    assert session.get_outputs()[0].shape == ["N", 2]
    assert session.run(None, {"x": np.ones((4, 3, 2), np.float32)})[0][0, 0] == 6


def test_entries_are_kept(ort):
    options, run_options = ort.SessionOptions(), ort.RunOptions()
    for key in ("SOME_KEY", "session.intra_op.allow_spinning", "session.set_denormal_as_zero"):
        options.add_session_config_entry(key, "1")
        assert options.get_session_config_entry(key) == "1"
    run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    assert run_options.get_run_config_entry("memory.enable_memory_arena_shrinkage") == "cpu:0"
    with pytest.raises(RuntimeError, match="SessionOptions does not have configuration with key: OTHER"):
        options.get_session_config_entry("OTHER")
    with pytest.raises(RuntimeError, match="RunOptions does not have configuration with key: OTHER"):
        run_options.get_run_config_entry("OTHER")
    session = ort.InferenceSession(scaled(), options)
    np.testing.assert_array_equal(session.run(None, {"x": X}, run_options)[0], X * X)


def test_initializers_come_from_outside(ort, tmp_path):
    other = X[::-1].copy()
    options = ort.SessionOptions()
    options.add_initializer("w", value := ort.OrtValue.ortvalue_from_numpy(other))
    np.testing.assert_array_equal(ort.InferenceSession(scaled(), options).run(None, {"x": X})[0], X * other)
    del value

    elsewhere = ModelProto.FromString(scaled())
    tensor = elsewhere.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in {"location": "nowhere.bin", "offset": "8", "length": "24"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    options = ort.SessionOptions()
    options.add_external_initializers(["w"], [value := ort.OrtValue.ortvalue_from_numpy(other)])
    session = ort.InferenceSession(elsewhere.SerializeToString(), options)
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], X * other)
    del value
    if hasattr(ort.SessionOptions, "add_external_initializers_from_files_in_memory"):
        data = b"eight by" + other.tobytes() + b"more"
        options = ort.SessionOptions()
        options.add_external_initializers_from_files_in_memory(["nowhere.bin"], [data], [len(data)])
        path = tmp_path / "model.onnx"
        path.write_bytes(elsewhere.SerializeToString())
        session = ort.InferenceSession(str(path), options)
        np.testing.assert_array_equal(session.run(None, {"x": X})[0], X * other)


def test_initializers_from_outside_have_to_fit(tmp_path):
    for name, array, match in (
        ("w", X[:2], r"got float \[2, 2\], expected float \[3, 2\]"),
        ("w", X.astype(np.float64), r"got double \[3, 2\]"),
        ("other", X, "the model has no initializer with this name"),
    ):
        options = ours.SessionOptions()
        options.add_initializer(name, ours.OrtValue.ortvalue_from_numpy(array))
        with pytest.raises(ours.onnxruntime_pybind11_state.InvalidArgument, match=match):
            ours.InferenceSession(scaled(), options)
    with pytest.raises(RuntimeError, match="expected an OrtValue"):
        ours.SessionOptions().add_initializer("w", X)


def test_external_data_of_a_model_in_bytes_lies_in_a_folder_that_is_named(tmp_path):
    elsewhere = ModelProto.FromString(scaled())
    tensor = elsewhere.graph.initializer[0]
    (tmp_path / "w.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "w.bin"
    for package in BOTH:
        module = importlib.import_module(package)
        options = module.SessionOptions()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(tmp_path))
        session = module.InferenceSession(elsewhere.SerializeToString(), options)
        np.testing.assert_array_equal(session.run(None, {"x": X})[0], X * X)


def test_settings_are_shown_and_checked_as_there(ort):
    level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert (str(level), level.name, int(level)) == ("GraphOptimizationLevel.ORT_ENABLE_ALL", "ORT_ENABLE_ALL", 99)
    options = ort.SessionOptions()
    options.enable_mem_pattern = 0
    assert options.enable_mem_pattern is False
    for key in ("", "k" * 2000):
        with pytest.raises(RuntimeError, match="Config key is empty or longer than maximum length 1024"):
            options.add_session_config_entry(key, "1")
    session = ort.InferenceSession(scaled())
    assert session.get_modelmeta().version == (1 << 63) - 1  # the file says none
    binding = session.io_binding()
    binding.bind_output("y")
    with pytest.raises(RuntimeError, match="Error in execution"):
        session.run_with_iobinding(binding)
    with pytest.raises(Exception, match="INVALID_PROTOBUF"):
        ort.InferenceSession("/")


def test_a_session_can_be_called_off(ort):
    options = ort.SessionOptions()
    options.set_load_cancellation_flag(True)
    state = importlib.import_module(f"{ort.__name__}.capi.onnxruntime_pybind11_state")
    with pytest.raises(state.ModelLoadCanceled):
        ort.InferenceSession(scaled(), options)


def test_the_backend_runs_files_bytes_and_models(ort, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what theirs imports of onnx
        backend = importlib.import_module(f"{ort.__name__}.backend")
    path = tmp_path / "scaled.onnx"
    path.write_bytes(scaled())
    for source in (str(path), scaled(), ModelProto.FromString(scaled()), ort.InferenceSession(scaled())):
        np.testing.assert_array_equal(backend.run(source, [X], intra_op_num_threads=1, logid="mine")[0], X * X)
        np.testing.assert_array_equal(backend.prepare(source, "CPU").run(X)[0], X * X)
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    assert backend.is_compatible(ModelProto.FromString(scaled()))
    with pytest.raises(RuntimeError):
        backend.prepare(scaled(), enable_profiling=True)
    with pytest.raises(RuntimeError):
        backend.prepare(scaled(), "CUDA")
