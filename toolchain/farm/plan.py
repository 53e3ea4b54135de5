"""What a farm runs: devices.yaml, read and checked before any device is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgepack.runtime.devices.address import parse
from edgepack.toolchain.devices import settings
from edgepack.toolchain.errors import UnknownNameError, UsageError

DATABASE = "farm.db"


class FarmDevice(BaseModel):
    """One device.

    Attributes:
        address: As `edgepack profile --device` takes it.
        prepare: Fix its clocks while it is measured.
        runner: "auto", "python" or "native".
        python: Its Python.
        onnxruntime: For "native", its ONNX Runtime.
        ndk: For "native" on Android.
        workdir: edgepack's folder on it.
        ssh_config: A configuration file for ssh.
        resources: What a worker of a Ray cluster must have to reach it, in Ray's terms: {"bench-3": 1}.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    address: str
    prepare: bool = False
    runner: str = "auto"
    python: str | None = None
    onnxruntime: Path | None = None
    ndk: Path | None = None
    workdir: str | None = None
    ssh_config: Path | None = None
    resources: dict[str, float] = Field(default_factory=dict)


class FarmPlan(BaseModel):
    """A set of devices and bundles, and how they are measured.

    Attributes:
        devices: By the names that the report shows.
        bundles: Folders, by such names.
        targets: Only these of each bundle; all that run there unless named.
        preset: Of `edgepack profile`.
        scenario: Of `edgepack profile`, instead of a preset.
        sustain_s: Seconds of each measurement.
        sweep: On several choices of cores.
        threads: Within one operator.
        database: SQLAlchemy's URL; SQLite beside the file unless named.
        tolerance: How much slower, or larger in memory, counts as worse: 0.1 is a tenth.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    devices: dict[str, FarmDevice] = Field(min_length=1)
    bundles: dict[str, Path] = Field(min_length=1)
    targets: list[str] | None = None
    preset: str = "quick"
    scenario: str | None = None
    sustain_s: float | None = None
    sweep: bool = False
    threads: int = 1
    database: str | None = None
    tolerance: float = Field(0.1, ge=0, lt=10)

    def settings(self) -> settings.Settings:
        """How long and on which cores.

        Raises:
            UsageError: A number or a name that makes no sense.
        """
        return settings.make(
            self.preset,
            scenario=self.scenario,
            sustain_s=self.sustain_s,
            sweep=self.sweep,
            threads=self.threads,
        )


def read(path: Path) -> FarmPlan:
    """Read a plan; its paths are relative to its folder.

    Raises:
        UsageError: It cannot be read, or something in it is wrong.
    """
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"The devices cannot be read: {error}", where=str(path)) from error
    try:
        plan = FarmPlan.model_validate(raw)
    except ValidationError as error:
        raise _wrong(error, path) from error
    for name, device in plan.devices.items():
        parse(device.address)
        for field in ("onnxruntime", "ndk", "ssh_config"):
            value = getattr(device, field)
            if value is not None:
                setattr(device, field, path.parent / value)
        if device.runner not in {"auto", "python", "native"}:
            raise UnknownNameError("runner", device.runner, ("auto", "python", "native"), where=name)
    plan.bundles = {name: path.parent / folder for name, folder in plan.bundles.items()}
    plan.database = plan.database or f"sqlite:///{(path.parent / DATABASE).resolve()}"
    plan.settings()
    return plan


def _wrong(error: ValidationError, path: Path) -> UsageError:
    first: Any = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "the file"
    return UsageError(
        f"{place}: {first['msg']}",
        where=str(path),
        todo="See docs/devices.md for what the file holds",
    )
