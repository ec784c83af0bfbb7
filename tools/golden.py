"""What the makers of golden files share: archives whose bytes depend only on their members, and arrays by name."""

import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# The networks that tests export again are in the folder of those tests.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "networks"))


@contextmanager
def golden_zip(path: Path) -> Iterator[Callable[[str, bytes | Mapping[str, np.ndarray]], None]]:
    """Yield a function that puts members into a new archive: bytes as they are, arrays as an .npz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:

        def put(member: str, content: bytes | Mapping[str, np.ndarray]) -> None:
            if not isinstance(content, bytes):
                buffer = io.BytesIO()
                np.savez(buffer, **content)
                content = buffer.getvalue()
            archive.writestr(zipfile.ZipInfo(member, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED, 9)
            print(f"{member}: {len(content)} bytes")

        yield put
    print(f"{path.name}: {path.stat().st_size} bytes")


def arrays_of(name: str, inputs: Mapping[str, Any], outputs: Sequence[str], results: Any) -> dict[str, np.ndarray]:
    """Return `<name>.in.<input>` and `<name>.out.<output>` for torch's inputs and results, one tensor or several."""
    given = {f"{name}.in.{key}": value.numpy() for key, value in inputs.items()}
    made = zip(outputs, results if isinstance(results, tuple) else (results,), strict=True)
    return given | {f"{name}.out.{key}": value.numpy() for key, value in made}
