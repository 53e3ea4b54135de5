"""The output folder as its readers see it: loaded with distrust, checked by hashes.

A bundle is a folder with `manifest.json` and the files that it names. `bundle_writer` makes one.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal, NamedTuple

from edgepack.toolchain import files
from edgepack.toolchain.errors import BundleError
from edgepack.toolchain.program import Signature, StateLink
from edgepack.toolchain.results import ArtifactResult, Failure, Manifest

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk and what its manifest says.

    Attributes:
        path: The folder.
        manifest: Its manifest, checked: every name in it stays inside the folder.
    """

    path: Path
    manifest: Manifest

    @property
    def artifacts(self) -> list[ArtifactResult]:
        """What passed its gates, one per target and part."""
        return self.manifest.artifacts

    @property
    def rejected(self) -> list[ArtifactResult]:
        """What was built and failed its gate; kept apart, not to be shipped."""
        return self.manifest.rejected

    @property
    def failures(self) -> list[Failure]:
        """Targets that gave no artifact."""
        return self.manifest.failures

    def file(self, name: str) -> Path:
        """Path of a file of the bundle, by its name in the manifest.

        Raises:
            BundleError: The bundle has no such file, or it is not a regular file any more.
        """
        path = self.path / name
        if name not in self.manifest.files or not _is_plain(path, self.path):
            raise BundleError(
                f"The bundle has no file '{name}'",
                where=str(self.path),
                todo="Build it again with edgepack export",
            )
        return path


class Problem(NamedTuple):
    """One disagreement between a bundle's files and its manifest."""

    file: str
    kind: Literal["missing", "extra", "changed"]
    detail: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} ({self.detail})"


def load(folder: Path) -> Bundle:
    """Read a bundle's manifest; the files themselves are looked at by `verify_hashes`.

    Raises:
        BundleError: The folder is no bundle, its manifest is damaged or of a newer edgepack, or it
            names files outside the folder.
    """
    folder = Path(folder)
    place = folder / MANIFEST
    try:
        text = place.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        what = (
            "There is no such folder"
            if not folder.exists()
            else f"This is not a bundle: it has no {MANIFEST}"
        )
        raise BundleError(
            what, where=str(folder), todo="Make one with edgepack export MODEL --out DIR"
        ) from None
    except OSError as error:
        raise BundleError(f"The manifest cannot be read: {error.strerror}", where=str(place)) from error
    manifest = _parse(text, place)
    for name in names(manifest):
        check_name(name, folder)
    _check_calls(manifest, place)
    return Bundle(folder, manifest)


def verify_hashes(bundle: Bundle) -> list[Problem]:
    """Compare every file with the manifest.

    Returns:
        What is missing, extra or changed, sorted by file; empty when the bundle is sound.
    """
    problems = []
    present = dict(files.walk_files(bundle.path))
    present.pop(MANIFEST, None)
    for name, entry in bundle.manifest.files.items():
        facts = present.pop(name, None)
        if facts is None:
            problems.append(Problem(name, "missing", f"{entry.size_bytes} bytes in the manifest"))
        elif not stat.S_ISREG(facts.st_mode):
            problems.append(Problem(name, "changed", "no regular file any more"))
        elif facts.st_size != entry.size_bytes:
            problems.append(
                Problem(name, "changed", f"{facts.st_size} bytes, {entry.size_bytes} in the manifest")
            )
        elif files.hash_file(bundle.path / name).sha256 != entry.sha256:
            problems.append(Problem(name, "changed", "same size, other SHA-256"))
    problems += [Problem(name, "extra", "not in the manifest") for name in present]
    return sorted(problems)


def _parse(text: bytes, place: Path) -> Manifest:
    import pydantic
    import pydantic_core

    try:
        raw = pydantic_core.from_json(text)
    except ValueError as error:
        raise BundleError(
            f"The manifest is damaged: {error}", where=str(place), todo="Build it again with edgepack export"
        ) from error
    number = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(number, int) and number > 1:
        raise BundleError(
            f"The manifest has format {number} and this edgepack reads format 1",
            where=str(place),
            todo="Upgrade edgepack",
        )
    try:
        return Manifest.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise BundleError(
            f"The manifest is not one of edgepack's: {key}: {first['msg']}",
            where=str(place),
            todo="Build it again with edgepack export",
        ) from error


def _check_calls(manifest: Manifest, place: Path) -> None:
    """Raise BundleError where a manifest does not say what its artifacts take and give, and what becomes states."""
    try:
        for artifact in (*manifest.artifacts, *manifest.rejected):
            if artifact.run is not None:
                Signature.from_json(artifact.run.signature)
        for program in manifest.programs:
            for link in program.links:
                StateLink(**link)
    except (AttributeError, KeyError, TypeError) as error:
        raise BundleError(
            f"The manifest's inputs, outputs or states cannot be read: {error!r}",
            where=str(place),
            todo="Build it again with edgepack export",
        ) from error


def names(manifest: Manifest) -> set[str]:
    """Every file that a manifest speaks of."""
    artifacts = (*manifest.artifacts, *manifest.rejected)
    programs = {name for p in manifest.programs for name in (p.initial, p.cases) if name is not None}
    return set(manifest.files).union(programs, *(artifact.files for artifact in artifacts))


def check_name(name: str, folder: Path) -> None:
    """Refuse names that lead out of the folder, on any system, by spelling or by links."""
    posix = PurePosixPath(name)
    sound = (
        name == posix.as_posix()
        and name not in {"", ".", MANIFEST}
        and ".." not in posix.parts
        and not posix.is_absolute()
        and not PureWindowsPath(name).anchor
        and "\\" not in name
        and name.isprintable()
    )
    if not sound or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise BundleError(
            f"The manifest names a file that is not inside the bundle: {name!r}",
            where=str(folder),
            todo="Do not use this bundle unless you know where it comes from",
        )


def _is_plain(path: Path, folder: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode) and path.resolve().is_relative_to(folder.resolve())
    except OSError:
        return False
