"""The cache: built once, shared by processes, whole or absent, checked on every first hit."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgepack.toolchain import files
from edgepack.toolchain.cache import Cache, default_root
from edgepack.toolchain.errors import ToolchainFailedError, UsageError

HOLD = """
import sys
from pathlib import Path
from edgepack.toolchain.cache import Cache

def build(place):
    (place / "pid").write_text(sys.argv[2])
    with open(sys.argv[3], "a") as log:
        log.write(sys.argv[2])

print("ready", flush=True)
sys.stdin.readline()
cache = Cache(Path(sys.argv[1]))
place, hit = cache.stage({"key": 1}, build)
print(hit, (place / "pid").read_text(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def writer(content: str = "content", name: str = "file") -> Callable[[Path], None]:
    def build(place: Path) -> None:
        (place / name).write_text(content)

    return build


def never(place: Path) -> None:
    raise AssertionError(place)


def leftovers(cache: Cache) -> list[Path]:
    return list(cache.root.glob("v1/tmp/*"))


def test_built_once(cache: Cache, tmp_path: Path) -> None:
    assert not (tmp_path / "cache").exists(), "the constructor touches nothing"
    place, hit = cache.stage({"a": 1, "b": [1, 2]}, writer())
    assert (hit, (place / "file").read_text()) == (False, "content")
    assert cache.stage({"b": (1, 2), "a": 1}, never) == (place, True)
    assert Cache(tmp_path / "cache").stage({"a": 1, "b": [1, 2]}, never) == (place, True)
    assert cache.hashes(place) == {"file": files.hash_file(place / "file")}
    assert cache.stage({"a": 1, "b": [2, 1]}, writer("other"))[1] is False
    assert leftovers(cache) == []


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path / "mine"))
    assert Cache().root == tmp_path / "mine"
    monkeypatch.delenv("EDGEPACK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root().name == "edgepack"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_failed_build_leaves_nothing_and_can_be_repeated(cache: Cache, error: BaseException) -> None:
    def fail(place: Path) -> None:
        (place / "half").touch()
        raise error

    with pytest.raises(type(error)):
        cache.stage({"k": 1}, fail)
    assert leftovers(cache) == []
    assert cache.info().entries == 0
    assert cache.stage({"k": 1}, writer())[1] is False


@pytest.mark.parametrize(
    "damage",
    [
        "changed",
        "shorter",
        "missing",
        "extra",
        "no record",
        "bad record",
        "record of another kind",
        "link",
        "no files",
    ],
)
def test_a_damaged_entry_is_built_again_with_a_warning(tmp_path: Path, damage: str) -> None:
    with Cache(tmp_path) as first:
        place, _ = first.stage({"k": 1}, writer())
    file, record = place / "file", place.parent / "entry.json"
    if damage == "changed":
        file.write_text("CONTENT")
    elif damage == "shorter":
        file.write_text("c")
    elif damage == "missing":
        file.unlink()
    elif damage == "extra":
        (place / "more").touch()
    elif damage == "no record":
        record.unlink()
    elif damage == "bad record":
        record.write_bytes(b"\xff\xfe{")
    elif damage == "record of another kind":
        record.write_text(json.dumps([1, 2]))
    elif damage == "link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.unlink()
        place.rmdir()
    warnings: list[str] = []
    second = Cache(tmp_path, warn=warnings.append)
    place, hit = second.stage({"k": 1}, writer())
    assert hit is False
    assert (place / "file").read_text() == "content"
    assert not (place / "file").is_symlink()
    assert len(warnings) == 1
    assert "damaged entry of the cache is built again" in warnings[0]
    assert second.stage({"k": 1}, never)[1] is True
    assert leftovers(second) == []


def stamped(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """An entry whose stamps are old enough to be believed, and a list that names the files hashed from now on."""
    with Cache(root) as first:
        place, _ = first.stage({"k": 1}, writer())
    past = time.time_ns() + 10**9  # as if the change had been a second before the stamp
    stamps = json.loads((place.parent / "stamps.json").read_text())
    stamps["file"][0] = past
    (place.parent / "stamps.json").write_text(json.dumps(stamps))
    monkeypatch.setattr(time, "time_ns", lambda: past + 1)
    read: list[str] = []
    original = files.hash_file

    def spy(path: Path) -> files.FileHash:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(files, "hash_file", spy)
    return place, read


def test_an_untouched_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, read = stamped(tmp_path, monkeypatch)
    assert Cache(tmp_path).stage({"k": 1}, never)[1] is True
    assert read == []


def test_a_change_that_keeps_size_and_times_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, read = stamped(tmp_path, monkeypatch)
    facts = (place / "file").stat()
    (place / "file").write_text("CONTENT")
    os.utime(place / "file", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    warnings: list[str] = []
    assert Cache(tmp_path, warn=warnings.append).stage({"k": 1}, writer())[1] is False
    assert read[0] == "file"
    assert len(warnings) == 1


def test_every_file_is_read_again_after_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, read = stamped(tmp_path, monkeypatch)
    later = time.time_ns() + 8 * 86400 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    for _ in range(2):
        assert Cache(tmp_path).stage({"k": 1}, never)[1] is True
    assert read == ["file"], "the second time the new stamp holds"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"file": 3}', '{"file": ["x"]}', '{"file": []}', '{"other": [1, 2]}']
)
def test_damaged_stamps_only_cost_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    place, read = stamped(tmp_path, monkeypatch)
    (place.parent / "stamps.json").write_text(text)
    assert Cache(tmp_path).stage({"k": 1}, never)[1] is True
    assert read == ["file"]


def test_nested_stages_and_one_that_needs_itself(cache: Cache) -> None:
    def outer(place: Path) -> None:
        inner, _ = cache.stage({"k": "inner"}, writer("inner"))
        files.copy_file(inner / "file", place / "copy")

    place, _ = cache.stage({"k": "outer"}, outer)
    assert (place / "copy").read_text() == "inner"
    with pytest.raises(ValueError, match="needs itself"):
        cache.stage({"k": 2}, lambda _: cache.stage({"k": 2}, writer()))


class Child:
    """Another process that waits to be told to stage {"key": 1} in a cache, and then waits again."""

    def __init__(self, root: Path, name: str, log: Path) -> None:
        command: list[str | Path] = [sys.executable, "-c", HOLD, root, name, log]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.read() == ["ready"]

    def read(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    children: list[Child] = []

    def start(name: str) -> Child:
        children.append(Child(tmp_path / "cache", name, tmp_path / "log"))
        return children[-1]

    yield start
    for one in children:
        one.kill()


def test_two_processes_build_an_entry_once(tmp_path: Path, child: Callable[[str], Child]) -> None:
    children = [child("0"), child("1")]
    for one in children:  # both are running, now both ask
        one.go()
    answers = [one.read() for one in children]
    builder = (tmp_path / "log").read_text()
    assert builder in {"0", "1"}
    assert sorted(answers) == sorted([["False", builder], ["True", builder]])


def test_killed_at_any_moment(tmp_path: Path) -> None:
    script = Path(__file__).with_name("crashes.py")
    done = subprocess.run(
        [sys.executable, script, "cache", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    assert len(kills) > 20
    assert {kill["hit"] for kill in kills} == {True, False}
    for kill in kills:
        assert kill["sound"]
        assert kill["left"] == []
        assert kill["warnings"] == []
        assert kill["users"] == 1, "dead users are forgotten"


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    for i, name in enumerate("abc"):
        with Cache(tmp_path) as one:
            place, _ = one.stage({"k": name}, writer("x" * 1000))
            os.utime(place.parent / "entry.json", (i, i))
    with Cache(tmp_path) as one:
        one.stage({"k": "a"}, never)  # now the youngest
    size = Cache(tmp_path).info().size_bytes + 100  # records differ by some digits
    with Cache(tmp_path, max_bytes=size) as bounded:
        bounded.stage({"k": "d"}, writer("x" * 1000))
        assert bounded.info().entries == 3
        assert bounded.info().size_bytes <= size
    with Cache(tmp_path) as after:
        hits = {name: after.stage({"k": name}, writer())[1] for name in "abcd"}
    assert hits == {"a": True, "b": False, "c": True, "d": True}


def test_what_a_live_process_uses_stays(tmp_path: Path, child: Callable[[str], Child]) -> None:
    other = child("7")
    other.go()
    assert other.read() == ["False", "7"]
    with Cache(tmp_path / "cache", max_bytes=0) as here:
        here.stage({"k": "mine"}, writer())
        assert here.info().entries == 2, "both are in use, the bound has to wait"
        other.kill()
        assert here.clear() > 0
        assert here.info().entries == 1
        here.stage({"k": "mine"}, never)
    after = Cache(tmp_path / "cache")
    assert after.clear() > 0
    assert (after.info().entries, after.info().size_bytes) == (0, 0)
    assert list((tmp_path / "cache" / "v1" / "users").iterdir()) == []


def test_a_temporary_cache_vanishes() -> None:
    with Cache.temporary() as cache:
        place, _ = cache.stage({"k": 1}, writer())
        assert place.is_dir()
    assert not cache.root.exists()


def test_a_read_only_cache(read_only_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"The cache cannot be written: .*EDGEPACK_CACHE, or .* --no-cache"):
        Cache(read_only_folder).stage({"k": 1}, never)


def test_a_cache_that_became_read_only(tmp_path: Path, remount_read_only: Callable[[Path], None]) -> None:
    with Cache(tmp_path / "cache") as cache:
        cache.stage({"k": 1}, writer())
    remount_read_only(tmp_path / "cache")
    with pytest.raises(UsageError, match="The cache cannot be written"):
        Cache(tmp_path / "cache").stage({"k": 1}, never)


def test_a_file_where_the_cache_should_be(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(UsageError, match="The cache cannot be written"):
        Cache(tmp_path / "cache").stage({"k": 1}, never)


def too_much(place: Path) -> None:
    (place / "file").write_bytes(bytes(3 << 20))


def hidden(place: Path) -> None:
    try:
        too_much(place)
    except OSError as error:
        raise ToolchainFailedError("the compiler failed with signal 6") from error


@pytest.mark.parametrize("build", [too_much, hidden])
def test_a_full_disk(small_disk: Path, build: Callable[[Path], None]) -> None:
    cache = Cache(small_disk / "cache")
    with pytest.raises(UsageError, match=r"cannot be kept: the disk is full.* EDGEPACK_CACHE"):
        cache.stage({"k": 1}, build)
    assert leftovers(cache) == []
    assert cache.stage({"k": 2}, writer())[1] is False


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota is used up")]
)
def test_a_refusal_inside_a_build_becomes_readable(cache: Cache, number: int, message: str) -> None:
    def fail(_: Path) -> None:
        raise OSError(number, "refused")

    with pytest.raises(UsageError, match=message):
        cache.stage({"k": 1}, fail)


def test_a_users_own_file_is_not_blamed_on_the_cache(cache: Cache) -> None:
    def fail(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/home/me/model.onnx")

    with pytest.raises(PermissionError):
        cache.stage({"k": 1}, fail)


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, edgepack.toolchain.cache as c; c.Cache(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "pydantic", "filelock", "asyncio", "onnx"} & set(loaded)
