"""Writing a bundle: checked first, built beside its place, put there whole.

The manifest comes last, and one exchange of names puts the bundle in place. Killed at any moment, a
run leaves the old bundle, the new one or none, and a hidden folder that the next run removes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgepack.toolchain import files, staging
from edgepack.toolchain.bundle import MANIFEST, Bundle, check_name, load, names
from edgepack.toolchain.errors import BundleError
from edgepack.toolchain.files import FileHash
from edgepack.toolchain.results import FileEntry, Manifest

_ELSEWHERE = "Choose another folder with --out"


def check_out(out: Path) -> Path:
    """Make sure, before the expensive work, that a bundle may and can be written to `out`.

    Folders above it are made. What a killed run left beside it is cleared away.

    Returns:
        The absolute path, links resolved.

    Raises:
        BundleError: Something stands there that is not a bundle, or a bundle to which somebody
            added files that a new one would destroy.
        UsageError: The folder above it cannot be written.
    """
    out = Path(out).resolve()
    with files.storage_errors("The bundle cannot be written", out, _ELSEWHERE):
        out.parent.mkdir(parents=True, exist_ok=True)
        probe = staging.beside(out, "new")
        probe.mkdir()
        files.remove_tree(probe)  # if another run that begins has not taken it for a dead one's
        staging.recover(out)
        if out.exists():
            _check_replaceable(out)
    return out


class BundleWriter:
    """Builds a bundle beside its place; a context manager.

    ::

        with BundleWriter(out) as writer:
            ...  # write files into writer.folder, or hand them over by writer.add
            bundle = writer.commit(manifest)

    Leaving without `commit` throws everything away.

    Args:
        out: Where the bundle shall be; checked by `check_out`.
    """

    def __init__(self, out: Path) -> None:
        self._given = Path(out)
        self._known: dict[str, FileHash] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> BundleWriter:
        self._out = check_out(self._given)
        with files.storage_errors("The bundle cannot be written", self._out, _ELSEWHERE):
            self._staging = self._stack.enter_context(staging.Staging(self._out))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def folder(self) -> Path:
        """The folder under construction; there inside the with statement."""
        return self._staging.folder

    def add(self, source: Path, name: str, known: FileHash | None = None) -> Path:
        """Copy a file into the bundle.

        Args:
            source: The file.
            name: Its POSIX path in the bundle.
            known: Its hash, if somebody has read it already; then it is not read for that again.
        """
        check_name(name, self.folder)
        path = self.folder / name
        with self.storing():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.copy_file(source, path)
        if known is not None:
            self._known[name] = known
        return path

    @contextlib.contextmanager
    def storing(self) -> Iterator[None]:
        """Context for writing into `folder`: a full disk becomes one readable error."""
        with files.storage_errors("The bundle cannot be written", self._out, _ELSEWHERE, files.FULL):
            yield

    def commit(self, manifest: Manifest, known: Mapping[str, FileHash] | None = None) -> Bundle:
        """Hash every file into `manifest.files`, write the manifest, put the bundle in place.

        Args:
            manifest: What the bundle is; its `files` are replaced.
            known: More hashes that need no second reading, by name.

        Raises:
            BundleError: The manifest names an artifact's file that is not there.
            UsageError: The disk is full, or the folder cannot be replaced.
        """
        with files.storage_errors("The bundle cannot be written", self._out, _ELSEWHERE):
            hashes = files.hash_tree(self.folder, self._known | dict(known or {}))
            hashes.pop(MANIFEST, None)
            complete = manifest.model_copy(
                update={"files": {name: FileEntry(**pair._asdict()) for name, pair in hashes.items()}}
            )
            for name in names(complete):
                check_name(name, self.folder)
                if name not in hashes:
                    raise BundleError(
                        f"The manifest names a file that nobody wrote: '{name}'", where=str(self._out)
                    )
            files.sync_tree(self.folder)
            files.write_text(self.folder / MANIFEST, complete.model_dump_json(indent=1) + "\n", sync=True)
            files.sync(self.folder)
            self._staging.put()
            files.sync(self._out.parent)
        return Bundle(self._given, complete)


def _check_replaceable(out: Path) -> None:
    where, todo = str(out), _ELSEWHERE
    if not out.is_dir():
        raise BundleError("A file is in the way of the bundle", where=where, todo=todo)
    if Path.cwd().is_relative_to(out):
        raise BundleError("The current folder cannot be replaced by a bundle", where=where, todo=todo)
    if out.is_mount() or out.stat().st_dev != out.parent.stat().st_dev:
        raise BundleError(
            "The folder is a mount point and cannot be replaced as a whole",
            where=where,
            todo="Choose a folder inside it with --out",
        )
    if not any(out.iterdir()):
        return
    try:
        bundle = load(out)
    except BundleError as error:
        raise BundleError(
            f"The folder is not empty and not a bundle, so it will not be replaced ({error.what})",
            where=where,
            todo=f"{_ELSEWHERE}, or remove that one",
        ) from error
    present = {name for name, _ in files.walk_files(out)}
    extra = sorted(present - bundle.manifest.files.keys() - {MANIFEST})
    if extra:
        named = ", ".join(extra[:3]) + (", ..." if len(extra) > 3 else "")  # noqa: PLR2004 - enough to recognise
        raise BundleError(
            f"The bundle there holds files that edgepack did not write and would remove: {named}",
            where=where,
            todo=f"Move them, or: {_ELSEWHERE}",
        )
