"""The wheels of platforms: what they hold, and that nothing is compiled or written where one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import numpy as np
import pytest

from fastgru.simd.cache import source_hash
from fastgru.simd.target import TARGET

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"gemm_gates_float32", "gemm_panel_float32", "gru_reset_after_float32", "linear_float32", "look", "run_alone"}
ARCHITECTURE = "x86_64" if TARGET.is_x86 else "aarch64"

MODEL = """
import numpy as np, onnx, sys
from onnx import TensorProto, helper, numpy_helper
rng = np.random.default_rng(0)
shapes = {"W": (1, 24, 4), "R": (1, 24, 8), "B": (1, 48), "V": (8, 3)}
weights = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]
axes = numpy_helper.from_array(np.array([1]), "axes")
nodes = [
    helper.make_node("GRU", ["x", "W", "R", "B", "", "h0"], ["Y", "hn"], hidden_size=8, linear_before_reset=1),
    helper.make_node("Squeeze", ["Y", "axes"], ["s"]),
    helper.make_node("MatMul", ["s", "V"], ["y"]),
]
value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
inputs, outputs = [value("x", ["T", 1, 4]), value("h0", [1, 1, 8])], [value("y", ["T", 1, 3]), value("hn", [1, 1, 8])]
graph = helper.make_graph(nodes, "g", inputs, outputs, [*weights, axes])
file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
open(sys.argv[1], "wb").write(file.SerializeToString())
"""

RUN = """
import os, sys
import numpy as np, fastgru
model = fastgru.load(sys.argv[1])
y, h = model(np.ones((5, 1, 4), np.float32), np.zeros((1, 1, 8), np.float32))
from fastgru.kernels.table import compiled_by_this_process
assert "numba" not in sys.modules
assert compiled_by_this_process() == []
print(os.getuid(), y.sum() if np.isfinite(y).all() else None)
"""

# As root in a mount namespace of its own: everything is read-only, and home and temporary folders are empty.
ELSEWHERE = """
set -e
mount --make-rprivate /
mount --bind "$1" /mnt
for d in $(awk '$2 != "/" && $2 !~ "^/(proc|sys)" && $4 ~ "^rw" {print $2}' /proc/mounts); do
  mount -o remount,ro,bind "$d" 2>/dev/null || true
done
mount --bind "$2" /media
mount -o remount,ro,bind /media
mount -o remount,ro,bind /
for d in /tmp /var/tmp /home /root /dev/shm; do [ ! -d $d ] || mount -t tmpfs -o ro,mode=755 none $d; done
cd /
exec env -i PATH=/usr/bin:/bin PYTHONPATH="/media/installed:$3" $4 \\
  setpriv --reuid 12345 --regid 12345 --clear-groups "/mnt/bin/$5" -c "$6" /media/model.onnx
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where others may read, which pytest's own folders are not."""
    folder = (
        Path("/var/lib" if os.access("/var/lib", os.W_OK) else sysconfig.get_path("data")) / f"fastgru-{os.getpid()}"
    )
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def wheels(folder: Path) -> dict[str, Path]:
    """By the platform's tag: those for this machine's level, with the kernels of a GRU and a linear layer."""
    base = TARGET.home(()).level
    command = [sys.executable, ROOT / "tools" / "build_wheels", folder / "wheels", "--only", f"linux-{ARCHITECTURE}"]
    subprocess.run([sys.executable, "-c", MODEL, str(folder / "model.onnx")], check=True)
    command += ["--levels", f"{base},{TARGET.level}", folder / "model.onnx"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {path.stem.rpartition("-")[2]: path for path in (folder / "wheels").iterdir()}
    assert all(path.name in done.stdout for path in made.values())
    return made


@pytest.fixture(scope="module")
def installed(folder: Path, wheels: dict[str, Path]) -> Path:
    """A folder that holds a model, and the package installed from the wheel of this platform."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "installed")]
    subprocess.run([*command, str(wheels[f"manylinux_2_17_{ARCHITECTURE}"])], check=True)
    return folder


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (found,) = (info for info in wheel.namelist() if info.endswith(f".dist-info/{name}"))
    return wheel.read(found).decode()


def test_wheels_differ_by_kernels_and_tag_alone(wheels: dict[str, Path]) -> None:
    tag = f"manylinux_2_17_{ARCHITECTURE}"
    assert set(wheels) == {"any", tag}
    pure, platform = (zipfile.ZipFile(wheels[name]) for name in ("any", tag))
    assert metadata(pure, "METADATA") == metadata(platform, "METADATA")
    assert "Tag: py3-none-any" in metadata(pure, "WHEEL")
    assert f"Tag: py3-none-{tag}" in metadata(platform, "WHEEL")
    assert "Root-Is-Purelib: false" in metadata(platform, "WHEEL")
    prebuilt = {name for name in platform.namelist() if name.startswith("fastgru/prebuilt/")}
    assert set(platform.namelist()) - set(pure.namelist()) == prebuilt
    assert platform.read("fastgru/prebuilt/sources").decode() == source_hash()
    home = f"{TARGET.home(()).name}-{source_hash()}"
    assert {f"fastgru/prebuilt/{home}/{name}.fgo" for name in NAMES} <= prebuilt
    assert {name.split("/")[2] for name in prebuilt} == {home, "sources"}, "another level holds what is the same"


def test_what_it_brings_is_run_without_a_folder_to_write_to(installed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed / "installed"), "FASTGRU_CACHE_DIR": "/dev/null/none"}
    command = [sys.executable, "-c", RUN, str(installed / "model.onnx")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=installed)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("kept", [False, True], ids=["wheel", "kept cache"])
def test_it_runs_as_a_stranger_where_nothing_can_be_written(installed: Path, kept: bool) -> None:
    """A read-only root, no home, no /tmp, another user: from the wheel, and from a cache that root has filled."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        pytest.skip("needs Linux, root, unshare and setpriv")
    if subprocess.run(["unshare", "-m", "mount", "--make-rprivate", "/"], capture_output=True, check=False).returncode:
        pytest.skip("this root may not unshare mounts")
    package = installed / "installed" / "fastgru"
    settings = ""
    if kept:
        settings = "FASTGRU_CACHE_DIR=/media/kept"
        shutil.move(package / "prebuilt", installed / "kept")
    python = Path(sys.executable).resolve()
    command = ["unshare", "-m", "bash", "-c", ELSEWHERE, "bash", str(python.parents[1]), str(installed)]
    command += [sysconfig.get_path("purelib"), settings, python.name, RUN]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        if kept:
            shutil.move(installed / "kept", package / "prebuilt")
    assert done.returncode == 0, done.stderr
    uid, total = done.stdout.split()
    assert uid == "12345"
    assert np.isfinite(float(total))
    assert done.stderr == ""


def test_headers_of_other_machines_are_refused() -> None:
    spec = spec_from_loader("build_wheels", SourceFileLoader("build_wheels", str(ROOT / "tools" / "build_wheels")))
    assert spec is not None
    assert spec.loader is not None
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    targets = {target.name: target for target in tool.TARGETS}
    elf = b"\x7fELF\x02\x01" + bytes(10) + (1).to_bytes(2, "little") + (62).to_bytes(2, "little") + bytes(44)
    tool.check_header(targets["linux-x86-64-v3"], "x", elf)
    for name in ("linux-aarch64", "macos-aarch64"):
        with pytest.raises(ValueError, match=f"x for {name} begins with 7f454c46"):
            tool.check_header(targets[name], "x", elf)
