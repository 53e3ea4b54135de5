"""The output folder: put in place whole whatever happens, loaded with distrust, checked by hashes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgepack.toolchain import bundle, bundle_writer, files
from edgepack.toolchain.bundle_writer import BundleWriter
from edgepack.toolchain.errors import BundleError, UsageError
from edgepack.toolchain.files import FileHash
from edgepack.toolchain.results import (
    ArtifactResult,
    Environment,
    Manifest,
    Parity,
    Placement,
    SourceFacts,
    Tool,
)


@pytest.fixture
def manifest() -> Manifest:
    machine = Environment(
        cpu_model="c",
        cpu_features=[],
        cores=1,
        threads=1,
        spinning=False,
        memory_bytes=1,
        os="o",
        python="p",
        packages={},
    )
    artifact = ArtifactResult(
        target="cpu:onnxruntime",
        part="main",
        precision="fp32",
        files=["cpu/main.onnx"],
        size_bytes=5,
        parity=Parity(passed=True),
        placement=Placement(accelerator=0, cpu=1),
        tool=Tool(name="t", version="1"),
    )
    return Manifest(
        edgepack="0",
        bundle="out",
        created="2026-01-01T00:00:00Z",
        command="edgepack export",
        source=SourceFacts(kind="onnx", location="m.onnx", fingerprint="0"),
        recipe={},
        artifacts=[artifact],
        environment=machine,
    )


@pytest.fixture
def write(tmp_path: Path, manifest: Manifest) -> Callable[..., bundle.Bundle]:
    def write_it(content: str = "model", name: str = "out", **changes: Any) -> bundle.Bundle:
        with BundleWriter(tmp_path / name) as writer:
            (writer.folder / "cpu").mkdir()
            (writer.folder / "cpu" / "main.onnx").write_text(content)
            (writer.folder / "report.html").write_text("<html>")
            return writer.commit(manifest.model_copy(update=changes))

    return write_it


def test_written_and_loaded(write: Callable[..., bundle.Bundle], tmp_path: Path) -> None:
    written = write()
    loaded = bundle.load(tmp_path / "out")
    assert loaded == written
    assert loaded.manifest.files.keys() == {"cpu/main.onnx", "report.html"}
    assert loaded.file(loaded.artifacts[0].files[0]).read_text() == "model"
    assert bundle.verify_hashes(loaded) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_second_bundle_replaces_the_first(write: Callable[..., bundle.Bundle], tmp_path: Path) -> None:
    write("first")
    write("second")
    assert (tmp_path / "out" / "cpu" / "main.onnx").read_text() == "second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_through_a_link_the_folder_behind_it_is_replaced(
    write: Callable[..., bundle.Bundle], tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    write()
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real" / "manifest.json").is_file()


def test_an_error_while_filling_leaves_the_old_bundle(
    write: Callable[..., bundle.Bundle], tmp_path: Path
) -> None:
    write("old")

    def interrupted() -> None:
        with BundleWriter(tmp_path / "out") as writer:
            (writer.folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert bundle.verify_hashes(bundle.load(tmp_path / "out")) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_known_hashes_are_not_computed_again(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"weights")
    known = files.hash_file(big)
    read: list[str] = []
    original = files.hash_file

    def spy(path: Path) -> FileHash:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(files, "hash_file", spy)
    with BundleWriter(tmp_path / "out") as writer:
        writer.add(big, "cpu/main.onnx", known)
        writer.add(big, "copy", FileHash("of another file", 3))
        made = writer.commit(manifest)
    assert read == ["copy"]
    assert bundle.verify_hashes(made) == []


def test_a_manifest_that_names_a_file_nobody_wrote_is_not_committed(
    tmp_path: Path, manifest: Manifest
) -> None:
    with (
        pytest.raises(BundleError, match=r"nobody wrote: 'cpu/main.onnx'"),
        BundleWriter(tmp_path / "out") as writer,
    ):
        writer.commit(manifest)
    assert list(tmp_path.iterdir()) == []


def test_verify_names_what_is_missing_extra_and_changed(
    write: Callable[..., bundle.Bundle], tmp_path: Path
) -> None:
    write("model")
    out = tmp_path / "out"
    (out / "cpu" / "main.onnx").write_text("modeL")
    (out / "report.html").unlink()
    (out / "cpu" / "new").touch()
    problems = bundle.verify_hashes(bundle.load(out))
    assert [(p.file, p.kind) for p in problems] == [
        ("cpu/main.onnx", "changed"),
        ("cpu/new", "extra"),
        ("report.html", "missing"),
    ]
    assert str(problems[0]) == "cpu/main.onnx: changed (same size, other SHA-256)"


def test_a_file_that_became_a_link_is_changed(write: Callable[..., bundle.Bundle], tmp_path: Path) -> None:
    made = write("model")
    (tmp_path / "elsewhere").write_text("model")
    path = tmp_path / "out" / "cpu" / "main.onnx"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert [p.kind for p in bundle.verify_hashes(made)] == ["changed"]
    with pytest.raises(BundleError, match=r"no file 'cpu/main.onnx'"):
        made.file("cpu/main.onnx")
    with pytest.raises(BundleError, match="not inside the bundle"):
        bundle.load(tmp_path / "out")


HOSTILE = [
    "../up",
    "/etc/passwd",
    "a/../../up",
    "C:\\x",
    "C:/x",
    "\\\\host\\share",
    "a//b",
    "./a",
    "",
    ".",
    "a\x1b[2J",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("where", ["files", "artifact", "rejected"])
def test_a_hostile_manifest_is_refused(
    write: Callable[..., bundle.Bundle], tmp_path: Path, name: str, where: str
) -> None:
    write()
    path = tmp_path / "out" / "manifest.json"
    data = json.loads(path.read_text())
    if where == "files":
        data["files"][name] = {"sha256": "0" * 64, "size_bytes": 0}
    else:
        data["artifacts"][0]["files"] = [name]
        if where == "rejected":
            data["rejected"], data["artifacts"] = data["artifacts"], []
    path.write_text(json.dumps(data))
    with pytest.raises(BundleError, match="not inside the bundle"):
        bundle.load(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("\x00" * 100, "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "not one of edgepack's"),
        ('{"name": "another tool"}', "not one of edgepack's: format|not one of edgepack's: edgepack"),
        ('{"format": 2}', "Upgrade edgepack"),
    ],
)
def test_a_damaged_manifest(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=message):
        bundle.load(tmp_path)


def test_an_unknown_key_in_the_manifest_is_named(write: Callable[..., bundle.Bundle], tmp_path: Path) -> None:
    write()
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "red"}))
    with pytest.raises(BundleError, match="colour"):
        bundle.load(tmp_path / "out")


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        bundle.load(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        bundle.load(tmp_path)


def test_what_is_not_a_bundle_is_not_replaced(write: Callable[..., bundle.Bundle], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("dear")
    with pytest.raises(BundleError, match="not empty and not a bundle"):
        bundle_writer.check_out(tmp_path / "photos")
    (tmp_path / "file").write_text("dear")
    with pytest.raises(BundleError, match="A file is in the way"):
        bundle_writer.check_out(tmp_path / "file")
    with pytest.raises(UsageError, match=r"a file stands where a folder is needed|A file"):
        bundle_writer.check_out(tmp_path / "file" / "out")
    write()
    (tmp_path / "out" / "notes.txt").write_text("dear")
    with pytest.raises(BundleError, match=r"would remove: notes\.txt"):
        bundle_writer.check_out(tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "dear"


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out" / "sub")
    with pytest.raises(BundleError, match="current folder"):
        bundle_writer.check_out(tmp_path / "out")


def test_folders_above_are_made_and_a_damaged_bundle_may_be_replaced(
    write: Callable[..., bundle.Bundle], tmp_path: Path
) -> None:
    write(name="deep/er/out")
    (tmp_path / "deep" / "er" / "out" / "report.html").unlink()
    write("again", name="deep/er/out")
    assert bundle.verify_hashes(bundle.load(tmp_path / "deep" / "er" / "out")) == []


def test_an_unwritable_parent_is_found_at_once(read_only_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be written: .* Choose another folder with --out"):
        bundle_writer.check_out(read_only_folder / "out")


def test_a_mount_point_is_refused_with_advice(small_disk: Path) -> None:
    with pytest.raises(BundleError, match=r"mount point .* Choose a folder inside it"):
        bundle_writer.check_out(small_disk)
    assert bundle_writer.check_out(small_disk / "out") == small_disk / "out"


def test_a_full_disk_leaves_the_old_bundle(small_disk: Path, manifest: Manifest, tmp_path: Path) -> None:
    out = small_disk / "out"
    big = tmp_path / "big"
    big.write_bytes(bytes(700_000))
    for attempt in range(2):
        with BundleWriter(out) as writer:
            writer.add(big, "cpu/main.onnx") if attempt == 0 else None
            if attempt == 1:
                with pytest.raises(UsageError, match=r"the disk is full .* Choose another folder with --out"):
                    writer.add(big, "cpu/main.onnx")
                continue
            writer.commit(manifest)
    assert bundle.verify_hashes(bundle.load(out)) == []
    assert [entry.name for entry in small_disk.iterdir()] == ["out"]


def test_a_disk_that_fills_up_at_the_manifest(
    write: Callable[..., bundle.Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="the disk is full"):
        write("new")
    monkeypatch.undo()
    assert (tmp_path / "out" / "cpu" / "main.onnx").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("scenario", "found"),
    [
        ("first", {"nothing", "new"}),
        ("exchange", {"old", "new"}),
        ("two-renames", {"old", "nothing", "new"}),
    ],
)
def test_killed_at_any_moment(tmp_path: Path, scenario: str, found: set[str]) -> None:
    kills = run_crashes(scenario, tmp_path)
    assert len(kills) > 20
    assert {kill["found"] for kill in kills} == found
    assert all(kill.get("problems", []) == [] for kill in kills)
    # The next run finds the old bundle or the new one, never nothing where there was one before.
    assert {kill["after"] for kill in kills} == (found if scenario == "first" else {"old", "new"})
    assert all(kill["left"] in (["out"], []) for kill in kills)


def run_crashes(scenario: str, folder: Path) -> list[dict[str, Any]]:
    script = Path(__file__).with_name("crashes.py")
    done = subprocess.run(
        [sys.executable, script, scenario, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    observations: list[dict[str, Any]] = json.loads(done.stdout)
    return observations


def test_two_that_are_about_to_write_one_bundle_do_not_trip_each_other(tmp_path):
    """Each clears away what looks like a killed run's: so does the folder that the other tries the place with."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: bundle_writer.check_out(tmp_path / "out"), range(400)))
    assert list(tmp_path.iterdir()) == []
