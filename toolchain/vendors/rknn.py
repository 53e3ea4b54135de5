"""What the folders share of Rockchip's NPUs: the isolated environment, its worker, and what a build is made of.

The toolkit's simulator runs a model that was built in the same process and no `.rknn` file. A build is therefore
carried along as one archive, from which the session builds the same again::

    <part>.onnx, perhaps <part>.onnx.data    the float model
    samples.npz                              one array [samples, *shape] an input; missing for float16
    build.json                               {"platform", "dtype", "config", "model", "inputs", "floats", "rknn",
                                              "version"}

"rknn" is the SHA-256 of the `.rknn` that was compiled from it, "floats" which inputs are float32 there whatever the
signature says.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.environments import IsolatedEnvironment
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.vendors.isolated_worker import Worker

DISTRIBUTION = "rknn-toolkit2"
SETUP = "edgepack setup npu:rk3588"
ENVIRONMENT = IsolatedEnvironment(
    "rknn",
    Path(__file__).with_name("rknn_requirements.txt"),
    (11, 12),
    left_out=("torch", "opencv-python"),
)
WORKER = Worker(DISTRIBUTION, ENVIRONMENT, SETUP, Path(__file__).with_name("_rknn_worker.py"))

SAMPLES_FILE = "samples.npz"
BUILD_FILE = "build.json"
NEWEST_OPSET = 19
"""Newest version of the standard operators that the toolkit loads; 2.5.0 refuses others in these words."""
_STAMP = (1980, 1, 1, 0, 0, 0)  # the same archive from the same files
_KEYS = {"platform", "dtype", "config", "model", "inputs", "floats", "rknn", "version"}


def pack(path: Path, facts: Mapping[str, Any], files: Iterable[Path]) -> None:
    """Write the archive; `files` are named by their last part."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        text = json.dumps(dict(facts), sort_keys=True, indent=1)
        archive.writestr(zipfile.ZipInfo(BUILD_FILE, _STAMP), text)
        for file in sorted(files):
            archive.writestr(zipfile.ZipInfo(file.name, _STAMP), file.read_bytes())


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """The facts of an archive, whose files go into `folder`.

    Raises:
        SourceError: It is none, or is cut.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
            names = archive.namelist()
            facts = json.loads(archive.read(BUILD_FILE))
            if bad or set(facts) != _KEYS or any(Path(name).name != name for name in names):
                raise KeyError(bad or BUILD_FILE)
            archive.extractall(folder)
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path.name} is no build for a Rockchip NPU, or is damaged: {' '.join(str(error).split())[:200]}",
            where=str(path),
            todo="Export the model again",
        ) from error
    return dict(facts)


def request(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the worker builds, from an archive's facts and the folder with its files."""
    samples = folder / SAMPLES_FILE
    return {
        "model": str((folder / facts["model"]).resolve()),
        "platform": facts["platform"],
        "dtype": facts["dtype"],
        "config": facts["config"],
        "inputs": facts["inputs"],
        "samples": str(samples.resolve()) if samples.is_file() else None,
    }
