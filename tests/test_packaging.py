"""What is shipped: the sdist, the wheel built from it, and what that wheel puts on a machine."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from edgepack.runtime.kernels import library_name
from edgepack.runtime.kernels.build import what_is_missing

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("exporters", "quantize", "runtime", "targets", "toolchain")
NOT_COPIED = shutil.ignore_patterns(".venv", ".git", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")

LIBRARY = f"edgepack/runtime/kernels/{library_name()}"

pytestmark = pytest.mark.slow


def sources() -> set[str]:
    """Every file of the five folders that belongs into the package, as edgepack/<folder>/..."""
    return {
        f"edgepack/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.suffix != ".pyc"
        and path.name != library_name()  # built, not written
    }


def build(kind: str, source: Path, out: Path) -> Path:
    """Build without a network: the build backend of this environment is used."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        f"--{kind}",
        "--no-isolation",
        "--outdir",
        out,
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "would be ignored" not in done.stdout, "a folder without __init__.py"
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=NOT_COPIED)
    (folder / "out").mkdir()
    return build("sdist", folder / "tree", folder / "out")


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            assert member.isfile() or member.isdir(), f"{member.name} is a link or worse"
            assert not Path(member.name).is_absolute()
            assert ".." not in Path(member.name).parts
        archive.extractall(folder)  # noqa: S202 - checked above
    (root,) = folder.iterdir()
    return root


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


def test_the_folders_are_linked() -> None:
    for folder in FOLDERS:
        link = ROOT / "edgepack" / folder
        assert link.resolve() == ROOT / folder
        if link.is_symlink():  # a checkout without links would hold copies
            assert str(link.readlink()) == f"../{folder}"


def test_the_sdist_holds_every_source_once(unpacked: Path) -> None:
    assert sources() <= {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")}
    assert (unpacked / "constraints.txt").is_file()
    assert (unpacked / "README.md").is_file()
    assert [folder for folder in FOLDERS if (unpacked / folder).exists()] == []


def test_the_wheel_built_from_the_sdist_holds_every_source(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    packaged = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert {name.partition("/")[0] for name in packaged} == {"edgepack"}
    assert sources() - packaged == set()
    built = set() if what_is_missing() else {LIBRARY}
    assert packaged - sources() == {
        "edgepack/__init__.py",
        "edgepack/__main__.py",
        "edgepack/py.typed",
        *built,
    }


def test_one_wheel_serves_every_python(wheel: Path) -> None:
    """The library is ONNX Runtime's to load, and so the wheel is for this platform and any interpreter."""
    if missing := what_is_missing():
        pytest.skip(f"the native kernels cannot be built: no {missing}")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")


def test_the_library_shows_two_names_and_needs_no_c_plus_plus(wheel: Path, tmp_path: Path) -> None:
    """So that it meets no other library's C++ in a process, and runs where none is installed."""
    if missing := what_is_missing():
        pytest.skip(f"the native kernels cannot be built: no {missing}")
    if sys.platform != "linux" or shutil.which("readelf") is None:
        pytest.skip("readelf of binutils shows what a library of Linux needs")
    with zipfile.ZipFile(wheel) as archive:
        library = archive.extract(LIBRARY, tmp_path)
    shown = subprocess.run(
        ["readelf", "-dW", "--dyn-syms", library], capture_output=True, text=True, check=True
    )
    needed = {line.split("[")[1].rstrip("]") for line in shown.stdout.splitlines() if "(NEEDED)" in line}
    assert needed <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    symbols = [line.split() for line in shown.stdout.splitlines() if " DEFAULT " in line]
    defined = {
        name
        for *_, place, name in (line[:8] for line in symbols if line[4] != "LOCAL" and len(line) > 7)
        if place != "UND"
    }
    assert defined == {"RegisterCustomOps", "edgepack_kernels"}


def test_without_a_compiler_there_is_a_wheel_all_the_same(unpacked: Path, tmp_path: Path) -> None:
    """A machine without cmake: the wheel is plain Python, and the build says what it left out."""
    tree = tmp_path / "tree"
    shutil.copytree(unpacked, tree)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "out", tree]
    environment = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "edgepack: no cmake, so the native kernels are not built" in done.stdout + done.stderr
    (made,) = (tmp_path / "out").iterdir()
    assert made.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(made) as archive:
        assert LIBRARY not in archive.namelist()


def test_the_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Installed into an empty folder, every module can be found there and the command line starts."""
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True)
    # -I would hide the dependencies' folder too; the target goes first and the checkout is not on the path
    code = f"""
import sys
sys.path.insert(0, {str(target)!r})
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
import edgepack
assert edgepack.__file__.startswith({str(target)!r}), edgepack.__file__
from edgepack.toolchain import cli, cache, bundle
assert cli.__file__.startswith({str(target)!r}), cli.__file__
from edgepack.targets.base import targets
print(*targets.names())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    families = {name.partition(":")[0] for name in done.stdout.split()}
    assert families == {"cpu", "npu", "mobile"}


def test_every_module_parses_with_the_oldest_python() -> None:
    for path in (path for folder in (*FOLDERS, "edgepack") for path in (ROOT / folder).rglob("*.py")):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))


def test_every_dependency_has_an_exact_pin() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for version in ("3.10", "3.11", "3.12", "3.13"):
        environment = {"python_version": version, "python_full_version": f"{version}.0"}
        valid = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
        by_name = {canonicalize_name(pin.name): pin for pin in valid}
        assert len(by_name) == len(valid), "one pin for each name"
        extras = project["optional-dependencies"]
        for text in (*project["dependencies"], *(text for extra in extras.values() for text in extra)):
            wanted = Requirement(text)
            if wanted.name == project["name"]:
                assert wanted.extras <= extras.keys()  # of its own, whose members are looked at themselves
                continue
            (exact,) = by_name[canonicalize_name(wanted.name)].specifier
            assert exact.operator == "=="
            assert exact.version in wanted.specifier, f"{text} and {exact}"
