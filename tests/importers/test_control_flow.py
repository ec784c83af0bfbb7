"""Loop, Scan and If that are no GRUs: nodes with graphs inside, equal to ONNX Runtime, the same bits streamed."""

import time

import control_models
import numpy as np
import pytest
from control_models import CELLS, H, built, decoder, ends_of, feeds_of, info, loop_of, model_of, node, scan_of
from onnx import TensorProto, helper, numpy_helper
from onnx_build import make_model, ort_run

import fastgru
from fastgru.errors import FastGRUError, ShapeError, UnsupportedModelError
from fastgru.importers.onnx import read_onnx
from fastgru.reference import run_graph

MAKERS = {"scan": scan_of, "loop": loop_of}


def near(got, want):
    """Within 1e-5 of the largest entry, at least 1."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert abs(got - want).max(initial=0) <= 1e-5 * max(1, abs(want).max(initial=0))


def check(model, feeds, **options):
    """Equal to ONNX Runtime by the definition and by the engine; the model."""
    loaded = fastgru.load(model.SerializeToString(), **options)
    want = ort_run(model, feeds)
    defined, got = run_graph(loaded.graph, feeds, dtype="float32"), loaded.run(feeds)
    for name, array in want.items():
        near(defined[name], array)
        near(got[name], array)
    return loaded


@pytest.mark.parametrize("form", MAKERS)
@pytest.mark.parametrize("write", CELLS, ids=lambda f: f.__name__)
def test_cells_of_every_kind(write, form):
    model, body = MAKERS[form](write)
    for T, N, S in ((5, 2, 7), (1, 1, 1), (33, 3, 4)):
        loaded = check(model, feeds_of(body, T, N, S))
    assert fastgru.verify(model.SerializeToString(), runtimes=False).holds
    assert not loaded.reference_nodes


@pytest.mark.parametrize("form", MAKERS)
@pytest.mark.parametrize("write", CELLS, ids=lambda f: f.__name__)
def test_the_same_bits_streamed_and_whole(write, form):
    model, body = MAKERS[form](write)
    loaded, feeds = fastgru.load(model.SerializeToString()), feeds_of(body, 9)
    whole = loaded.run(feeds)
    if body.memory:  # which every push needs, too
        state, rows = {name: feeds[f"{name}_in"] for name in body.states}, []
        for t in range(9):
            given = {**feeds, **{f"{name}_in": a for name, a in state.items()}}
            made = loaded.run(given | {f"{name}s": feeds[f"{name}s"][t : t + 1] for name in body.steps})
            rows.append(made["ys"])
            state = {name: made[f"{name}_out"] for name in body.states}
    else:
        stream = loaded.stream(batch_size=2)
        stream.set_state({f"{name}_in": feeds[f"{name}_in"] for name in body.states})
        rows = []
        for t in (slice(0, 1), slice(1, 4), slice(4, 5), slice(5, 9)):
            rows.append(stream.push(*(feeds[f"{name}s"][t] for name in body.steps)))
        state = {name: stream.state[f"{name}_in"] for name in body.states}
    np.testing.assert_array_equal(np.concatenate(rows), whole["ys"])
    for name, last in state.items():
        np.testing.assert_array_equal(last, whole[f"{name}_out"])


@pytest.mark.parametrize("write", CELLS, ids=lambda f: f.__name__)
def test_files_of_our_own_and_of_onnx(write, tmp_path):
    model, body = scan_of(write)
    loaded, feeds = fastgru.load(model.SerializeToString()), feeds_of(body)
    want = loaded.run(feeds)
    loaded.save(tmp_path / "m.safetensors")
    again = fastgru.load(tmp_path / "m.safetensors")
    assert again.fingerprint == loaded.fingerprint
    for name, array in again.run(feeds).items():
        np.testing.assert_array_equal(array, want[name])
    check(helper_model(loaded.to_onnx()), feeds)


def helper_model(data):
    from onnx import load_model_from_string

    return load_model_from_string(data)


@pytest.mark.parametrize(("steps", "stop"), [(20, 3), (20, 8), (20, 6), (1, 3), (7, 9)])
def test_a_decoder_that_feeds_back_its_own_choice(steps, stop):
    lengths = set()
    for seed in range(6):
        model = decoder(steps, stop, seed)
        feeds = {"h0": np.random.default_rng(seed).standard_normal((1, H)).astype(np.float32)}
        loaded = check(model, feeds)
        lengths.add(len(loaded.run(feeds)["tokens"]))
    assert max(lengths) <= steps
    assert steps == 1 or stop == 3 or min(lengths) < steps


def test_a_decoder_whose_tokens_go_on(tmp_path):
    model = decoder(20, 8)
    model.graph.node.append(node("Transpose", ["tokens"], ["row"], perm=[1, 0]))
    model.graph.output.append(info("row", (1, "L"), TensorProto.INT64))
    check(model, {"h0": np.random.default_rng(0).standard_normal((1, H)).astype(np.float32)})


def if_of(then, otherwise, condition="c"):
    bodies = {
        f"{name}_branch": helper.make_graph(nodes, name, [], [info(nodes[-1].output[0])])
        for name, nodes in (("then", then), ("else", otherwise))
    }
    return node("If", [condition], ["y"], "if", **bodies)


def test_a_branch_is_taken_as_the_data_say():
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    taken = if_of([node("Tanh", ["x"], ["t"])], [node("Mul", ["x", "w"], ["m"]), node("Neg", ["m"], ["e"])])
    sign = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["c"])]
    model = make_model([*sign, taken], {"x": x}, ["y"], {"w": x[:1], "zero": np.float32(0)})
    for given in (x, -x):
        loaded = check(model, {"x": given})
    assert [n.op for n in loaded.graph.nodes][-1] == "branch"
    near(fastgru.load(loaded.to_onnx()).run({"x": x})["y"], ort_run(model, {"x": x})["y"])


def test_a_branch_within_a_loop():
    body = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "zero"], ["c"]),
        if_of([node("Add", ["h", "x"], ["t"])], [node("Mul", ["h", "x"], ["e"])]),
        node("Identity", ["y"], ["out"]),
    ]
    graph = helper.make_graph(body, "body", [info("h"), info("x")], [info("y"), info("out")])
    scan = node("Scan", ["h0", "xs"], ["hn", "ys"], body=graph, num_scan_inputs=1)
    rng = np.random.default_rng(1)
    feeds = {n: rng.standard_normal(s).astype(np.float32) for n, s in (("h0", (2, 3)), ("xs", (8, 2, 3)))}
    check(make_model([scan], feeds, ["hn", "ys"], {"zero": np.float32(0)}), feeds)


def test_a_loop_within_a_loop():
    inner = helper.make_graph(
        [node("Add", ["u", "x"], ["u2"]), node("Identity", ["on"], ["on2"]), node("Tanh", ["u2"], ["row"])],
        "inner",
        [info("j", (), TensorProto.INT64), info("on", (), TensorProto.BOOL), info("u")],
        [info("on2", (), TensorProto.BOOL), info("u2"), info("row")],
    )
    body = [
        node("Loop", ["three", "true", "h"], ["h2", "rows"], body=inner),
        node("ReduceSum", ["rows", "axis"], ["y"], keepdims=0),
    ]
    graph = helper.make_graph(
        body, "body", [info("h", (2, 3)), info("x", (2, 3))], [info("h2", (2, 3)), info("y", (2, 3))]
    )
    scan = node("Scan", ["h0", "xs"], ["hn", "ys"], body=graph, num_scan_inputs=1)
    rng = np.random.default_rng(1)
    feeds = {n: 0.1 * rng.standard_normal(s).astype(np.float32) for n, s in (("h0", (2, 3)), ("xs", (8, 2, 3)))}
    constants = {"three": np.array(12), "true": np.array(True), "axis": np.array([0])}
    check(make_model([scan], feeds, ["hn", "ys"], constants), feeds)


def counting(steps, *body, condition=True, states=("v",), limit=True, feeds=None, **constants):
    """A Loop whose body makes v2 of v."""
    nodes = [*body] if condition is not True else [*body, node("Identity", ["on"], ["on2"])]
    inner = helper.make_graph(
        nodes, "body",
        [info("i", (), TensorProto.INT64), info("on", (), TensorProto.BOOL), *(info(n) for n in states)],
        [info("on2", (), TensorProto.BOOL), *(info(f"{n}2") for n in states)],
    )  # fmt: skip
    loop = node("Loop", ["steps" if limit else "", "true", *(f"{n}0" for n in states)], [f"{n}n" for n in states],
                "loop", body=inner)  # fmt: skip
    arrays = {"true": np.array(True), **({"steps": np.array(steps)} if limit else {}), **constants}
    return make_model([loop], feeds or {f"{n}0": np.ones(3, np.float32) for n in states}, [f"{n}n" for n in states],
                      arrays)  # fmt: skip


V = {"v0": np.ones(3, np.float32)}
DOUBLE = node("Mul", ["v", "by"], ["v2"])


@pytest.mark.parametrize(
    "model",
    [
        counting(1 << 40, DOUBLE, by=np.float32(1)),
        counting(0, DOUBLE, limit=False, by=np.float32(1)),
        counting(0, DOUBLE, node("Less", ["zero", "one"], ["on2"]), condition=False, limit=False, by=np.float32(1),
                 zero=np.float32(0), one=np.float32(1)),
        counting(0, DOUBLE, node("ReduceMax", ["v2"], ["m"], keepdims=0), node("Less", ["m", "big"], ["on2"]),
                 condition=False, limit=False, by=np.float32(1), big=np.float32(2)),
        counting(100_001, DOUBLE, by=np.float32(1)),
    ],
    ids=["huge", "endless", "constant", "condition", "one more"],
)  # fmt: skip
def test_loops_without_an_end_end_in_an_error(model):
    start = time.perf_counter()
    loaded = fastgru.load(model.SerializeToString())
    with pytest.raises(ShapeError, match=r"takes more than 100000 iterations.*max_iterations"):
        loaded.run(V)
    assert time.perf_counter() - start < 5


def test_loops_within_loops_are_counted_together():
    inner = helper.make_graph(
        [node("Mul", ["u", "by"], ["u2"]), node("Identity", ["go"], ["go2"])],
        "inner",
        [info("j", (), TensorProto.INT64), info("go", (), TensorProto.BOOL), info("u")],
        [info("go2", (), TensorProto.BOOL), info("u2")],
    )
    model = counting(90_000, node("Loop", ["steps", "true", "v"], ["v2"], body=inner), by=np.float32(1))
    start = time.perf_counter()
    with pytest.raises(ShapeError, match="with the loops inside it, takes more than 100000"):
        fastgru.load(model.SerializeToString()).run(V)
    assert time.perf_counter() - start < 5


def test_more_iterations_where_they_are_asked_for(tmp_path):
    model = counting(150_000, node("Add", ["v", "by"], ["v2"]), by=np.float32(1))
    loaded = fastgru.load(model.SerializeToString(), max_iterations=200_000)
    assert loaded.run(V)["vn"].tolist() == [150_001] * 3
    loaded.save(tmp_path / "m.safetensors")
    assert fastgru.load(tmp_path / "m.safetensors").run(V)["vn"].tolist() == [150_001] * 3
    few = fastgru.load(tmp_path / "m.safetensors", max_iterations=1000)
    with pytest.raises(ShapeError, match="more than 1000 iterations"):
        few.run(V)
    with pytest.raises(FastGRUError, match="max_iterations"):
        fastgru.load(model.SerializeToString(), max_iterations=0)


def test_states_that_grow_are_refused_by_name():
    model = counting(300, node("Concat", ["v", "v"], ["v2"], axis=0))
    with pytest.raises(UnsupportedModelError, match=r"'loop'.*state 0 .*\(3\).*\(6\).*keeps its shape.*full size"):
        fastgru.load(model.SerializeToString())


def test_states_that_grow_beyond_all_bounds():
    model = counting(200, node("Concat", ["v", "v"], ["v2"], axis=0))
    start = time.perf_counter()
    with pytest.raises(FastGRUError):
        fastgru.load(model.SerializeToString()).run(V)
    assert time.perf_counter() - start < 5


def test_rows_without_end_are_bounded(monkeypatch):
    inner = helper.make_graph(
        [DOUBLE, node("Expand", ["v2", "wide"], ["row"]), node("Identity", ["on"], ["on2"])], "body",
        [info("i", (), TensorProto.INT64), info("on", (), TensorProto.BOOL), info("v")],
        [info("on2", (), TensorProto.BOOL), info("v2"), info("row")],
    )  # fmt: skip
    loop = node("Loop", ["", "true", "v0"], ["vn", "rows"], "loop", body=inner)
    constants = {"true": np.array(True), "by": np.float32(1), "wide": np.array([5000, 3])}
    model = make_model([loop], V, ["vn", "rows"], constants)
    with pytest.raises(ShapeError, match=r"what a loop stacks takes .* bytes and more, expected at most"):
        fastgru.load(model.SerializeToString()).run(V)


def test_a_body_that_would_need_the_fallback_is_refused():
    model = counting(20, node("Softplus", ["v"], ["w"]), node("Det", ["w"], ["v2"]))
    for options in ({}, {"fallback": "reference"}):
        with pytest.raises(UnsupportedModelError, match="Det"):
            fastgru.load(model.SerializeToString(), **options)


def test_a_state_that_begins_as_one_row():
    """Zeros of one row, of which the body makes as many as there are."""
    model, body = scan_of(CELLS[1])
    wide = feeds_of(body)
    zeros = np.zeros((1, H), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(zeros, "h_in"))
    del model.graph.input[[i.name for i in model.graph.input].index("h_in")]
    loaded = fastgru.load(model.SerializeToString())
    want = ort_run(scan_of(CELLS[1])[0], {**wide, "h_in": np.zeros_like(wide["h_in"])})
    got = loaded.run({"xs": wide["xs"]})
    for name in ends_of(body):
        near(got[name], want[name])


def test_what_no_iteration_changes_stands_before_the_loop():
    body = built(CELLS[0])
    scan, _ = scan_of(CELLS[0])
    ops = [n.op for n in read_onnx(scan.SerializeToString()).nodes]
    assert ops == ["transpose", "loop"]  # of the memory
    assert model_of([], body, []).graph.input


def test_layers_within_a_loop_and_axes_of_every_kind():
    """A hierarchical network: a GRU and an LSTM over each piece, a state over the pieces."""
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 12, 3), "R": (1, 12, 4), "B": (1, 24), "V": (1, 16, 3), "U": (1, 16, 4)}
    arrays = {name: (0.5 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    layers = [
        node("GRU", ["x", "W", "R", "B", "", "h"], ["", "h2"], hidden_size=4, linear_before_reset=1),
        node("LSTM", ["x", "V", "U"], ["", "last"], hidden_size=4),
        node("Add", ["h2", "last"], ["y"]),
    ]
    state, row = info("h2", (1, 2, 4)), info("y", (1, 2, 4))
    body = helper.make_graph(layers, "body", [info("h", (1, 2, 4)), info("x", (6, 2, 3))], [state, row])
    scan = node("Scan", ["h0", "xs"], ["hn", "ys"], body=body, num_scan_inputs=1)
    feeds = {"h0": rng.standard_normal((1, 2, 4)), "xs": rng.standard_normal((11, 6, 2, 3))}
    feeds = {name: a.astype(np.float32) for name, a in feeds.items()}
    model = make_model([scan], feeds, ["hn", "ys"], arrays)
    one, two = check(model, feeds), fastgru.load(model.SerializeToString(), threads=2)
    for name, array in two.run(feeds).items():
        np.testing.assert_array_equal(array, one.run(feeds)[name])


def test_sequences_and_rows_along_any_axis_from_either_end():
    rng, shape = np.random.default_rng(0), (2, 3)
    nodes = [node("Add", ["a", "b"], ["s"]), node("Add", ["h", "s"], ["h2"]), node("MatMul", ["h2", "K"], ["y"])]
    body = helper.make_graph(
        nodes, "body", [info(n, shape) for n in "hab"], [info("h2", shape), info("y", (2, 5)), info("s", shape)]
    )
    scan = node("Scan", ["h0", "as", "bs"], ["hn", "ys", "ss"], body=body, num_scan_inputs=2, scan_input_axes=[1, -1],
                scan_input_directions=[1, 0], scan_output_axes=[-1, 1], scan_output_directions=[0, 1])  # fmt: skip
    feeds = {"h0": shape, "as": (2, 13, 3), "bs": (2, 3, 13)}
    feeds = {name: rng.standard_normal(s).astype(np.float32) for name, s in feeds.items()}
    model = make_model([scan], feeds, ["hn", "ys", "ss"], {"K": rng.standard_normal((3, 5)).astype(np.float32)})
    loaded = check(model, feeds)
    check(helper_model(loaded.to_onnx()), feeds)


def test_weights_inside_are_of_low_precision_and_saved_once(tmp_path, monkeypatch):
    monkeypatch.setattr(control_models, "H", 64)
    monkeypatch.setattr(control_models, "I", 48)
    model, body = scan_of(CELLS[1])
    feeds, plain = feeds_of(body), fastgru.load(model.SerializeToString())
    for precision in ("int8", "bfloat16"):
        small = fastgru.load(model.SerializeToString(), precision=precision)
        assert {kept.precision for kept in small.weight_precisions.values()} == {precision}
        small.save(tmp_path / "small.safetensors")
        again = fastgru.load(tmp_path / "small.safetensors")
        assert again.weight_precisions == small.weight_precisions
        for name, array in again.run(feeds).items():
            np.testing.assert_array_equal(array, small.run(feeds)[name])
            assert 0 < abs(array - plain.run(feeds)[name]).max() < 0.1
    plain.save(tmp_path / "plain.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < 0.6 * (tmp_path / "plain.safetensors").stat().st_size
    report = fastgru.quantize(model.SerializeToString())
    assert {layer.precision for layer in report.layers} == {"int8"}
    assert all(layer.errors.largest > 0 for layer in report.layers)


def test_a_pool_takes_no_model_that_decides_by_its_rows():
    scan, _ = scan_of(CELLS[1])
    assert fastgru.SessionPool(fastgru.load(scan.SerializeToString()), 4).capacity == 4
    x = np.ones((2, 3), np.float32)
    taken = if_of([node("Tanh", ["s"], ["t"])], [node("Neg", ["s"], ["e"])])
    nodes = [node("Add", ["x", "h_in"], ["s"]), node("ReduceSum", ["s"], ["m"], keepdims=0),
             node("Greater", ["m", "zero"], ["c"]), taken, node("Identity", ["y"], ["h_out"])]  # fmt: skip
    model = make_model(nodes, {"x": x, "h_in": x}, ["y", "h_out"], {"zero": np.float32(0)})
    for value in (*model.graph.input,):
        value.type.tensor_type.shape.dim[0].ClearField("dim_value")
    with pytest.raises(
        UnsupportedModelError, match=r"branch 'if' depends on all rows .*keep a stream for each session"
    ):
        fastgru.SessionPool(fastgru.load(model.SerializeToString()), 4)


def test_shapes_that_grow_a_fixed_number_of_times():
    """Every iteration reads one element more, and appends one."""
    body = [
        node("Add", ["i", "one"], ["end"]), node("Slice", ["x", "zero", "end"], ["part"]),
        node("ReduceSum", ["part"], ["s"], keepdims=1), node("Concat", ["v", "s"], ["v2"], axis=0),
    ]  # fmt: skip
    x = np.arange(12, dtype=np.float32)
    model = counting(12, *body, one=np.array([1]), zero=np.array([0]), feeds={"x": x, "v0": x[:1]})
    check(model, {"x": x, "v0": x[:1]})
