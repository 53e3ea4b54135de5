"""Asking a device without Python: the runner of `runtime/devices/native`, and ONNX Runtime's own library."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime import environment
from edgepack.runtime.devices import shell
from edgepack.runtime.devices.board import counting
from edgepack.runtime.devices.device import Device, Run
from edgepack.runtime.devices.native import answers, build, library, request
from edgepack.runtime.devices.runner import plans, readings
from edgepack.toolchain import files
from edgepack.toolchain.devices.asking import (
    CHECK_LIMIT_S,
    Asking,
    Files,
    Outputs,
    fetched,
    uses_native_operators,
)
from edgepack.toolchain.devices.counted import counted
from edgepack.toolchain.devices.measured import measured
from edgepack.toolchain.devices.native_units import check_units, measure_units, parts_of
from edgepack.toolchain.devices.results import NO_PYTHON, Cluster, DeviceFacts, Measured
from edgepack.toolchain.devices.settings import Settings
from edgepack.toolchain.devices.subject import Subject, checked_file, facts_of
from edgepack.toolchain.errors import DeviceError, TargetError
from edgepack.toolchain.results import Environment

if TYPE_CHECKING:
    import numpy as np

_SCRIPT, _REQUEST, _HASHES, _ANSWER = "native.sh", "request.bin", "hashes", "answer.json"
_SESSION = "onnxruntime"


@dataclass(frozen=True)
class Native:
    """What the runner is made of, where the defaults do not serve.

    Attributes:
        onnxruntime: The device's ONNX Runtime: a shared library, or a wheel or archive that holds one.
        ndk: Android's native development kit.
    """

    onnxruntime: Path | None = None
    ndk: Path | None = None


class NativeAsking(Asking):
    """A target run by our own program.

    Args:
        device: Open.
        subject: The target.
        settings: How long and where.
        root: Where the device's /proc and /sys are.
        native: What the program is made of.

    Raises:
        TargetError: The target is not ONNX Runtime's.
    """

    def __init__(
        self, device: Device, subject: Subject, settings: Settings, root: str, native: Native
    ) -> None:
        super().__init__(device, subject, settings, root)
        others = {facts_of(one).session for one in subject.artifacts} - {_SESSION}
        if others:
            raise TargetError(
                f"The runner without Python has no {', '.join(sorted(others))}",
                where=subject.target,
                todo="Name another target with --target, or install Python on the device",
            )
        self._native = native
        self._wanted: Files = {}
        self._hashes: dict[str, str] = {}
        self._plans: list[dict[str, Any]] = []
        self._android = "getprop" in device.tools
        self._kernels = ""

    def to_check(self, folder: Path, units: Sequence[Mapping[str, Any]]) -> tuple[Files, Files]:
        del units
        self._gather(folder)
        return self._wanted, self._own(folder / "check", check_units(self.subject), (), request.GLOBS)

    def to_measure(self, folder: Path, units: Sequence[Mapping[str, Any]]) -> tuple[Files, Files]:
        del units
        able = [
            request.Plan(plan["plan"], tuple(plan["cpus"] or ()), plan["threads"])
            for plan in self._plans
            if "skipped" not in plan
        ]
        return self._wanted, self._own(folder / "measure", measure_units(self.subject), able, ())

    def check(self, run: Run) -> Outputs:
        answer, hashes = self._answer(run, "check", CHECK_LIMIT_S)
        with _tree(answer["files"], answer["cpus"] if self.root == "/" else None) as tree:
            clusters = readings.clusters(tree)
            facts = environment.facts(
                self.settings.threads, spinning=False, root=tree, cores=len(readings.cores(tree))
            )
        facts |= {"python": NO_PYTHON, "packages": {_SESSION: shell.printable(answer["runtime"])}}
        self.facts = DeviceFacts(
            address=str(self.device.transport.address),
            system=self.device.system,
            environment=Environment(**facts),
            clusters=[Cluster(**cluster) for cluster in clusters],
            emulated=self.device.transport.emulated,
        )
        self._plans = [plans.resolve(name, clusters, self.settings.threads) for name in self.settings.plans]
        found = {}
        for index, unit in enumerate(check_units(self.subject)):
            file = f"outputs-{index}.bin"
            names = {part.name: part.outputs for part in parts_of(self.subject)}
            content = fetched(run, file, hashes[file]).read_bytes()
            got = answers.outputs(content, [names[part] for part, _ in unit.calls])
            found[unit.name] = [
                self._shown(part, call) for (part, _), call in zip(unit.calls, got, strict=True)
            ]
        return found

    def measure(self, run: Run, units: Sequence[Mapping[str, Any]]) -> list[Measured]:
        answer, hashes = self._answer(run, "measure", self.measure_limit_s)
        entries = iter(enumerate(answer["measured"]))
        found = []
        for plan in self._plans:
            for unit in units:
                if "skipped" in plan:
                    found.append(measured({"unit": unit["name"], **plan}, unit, None, self.settings))
                    continue
                number, entry = next(entries)
                self._refused(entry)
                file = f"samples-{number}.f64"
                samples = None if "skipped" in entry else fetched(run, file, hashes[file])
                found.append(measured(self._entry(entry, unit, plan), unit, samples, self.settings))
        return found

    @property
    def uncountable(self) -> str:
        return ""

    def count(self, run: Run, units: Sequence[Mapping[str, Any]]) -> list[Measured]:
        tool = self.device.transport.emulator
        assert tool is not None  # noqa: S101 - only an emulated device is asked
        answer, hashes = self._answer(run, "count", self.measure_limit_s)
        if counting.FILE not in hashes:
            raise DeviceError("The emulator left no counts", where=str(self.device.transport.address))
        marks = fetched(run, counting.FILE, hashes[counting.FILE]).read_text()
        costs = counting.read(marks, [int(entry["repetitions"]) for entry in answer["counted"]])
        return [counted(unit["name"], cost, tool) for unit, cost in zip(units, costs, strict=True)]

    def _entry(
        self, entry: Mapping[str, Any], unit: Mapping[str, Any], plan: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A measurement in the words of the runner in Python."""
        if "skipped" in entry:
            return {"unit": unit["name"], **plan, "skipped": shell.printable(entry["skipped"])}
        return {
            **entry,
            **plan,
            "unit": unit["name"],
            "samples": {"steps": entry["steps"]},
            "windows": [
                {"s": one["s"], "done": one["done"], **self._reading(one["files"])}
                for one in entry["windows"]
            ],
            "before": self._reading(entry["before"]),
            "after": self._reading(entry["after"]),
        }

    @staticmethod
    def _reading(shown: Mapping[str, str | None]) -> dict[str, Any]:
        with _tree(shown, None) as tree:
            return readings.reading(tree)

    def _gather(self, folder: Path) -> None:
        """Program, libraries and models, each with its hash."""
        ndk = self._native.ndk if self._android else None
        if self._android and ndk is None:
            raise TargetError(
                "The runner for Android is built with its native development kit",
                where=str(self.device.transport.address),
                todo="Name its folder with --ndk, and ONNX Runtime's archive for Android with --onnxruntime",
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.device.tell(f"building the runner for {self.machine}")
        given = {
            library.NAME: library.library(
                self.machine, self._native.onnxruntime, folder, android=self._android
            ),
            build.PROGRAM: build.runner(self.machine, ndk=ndk),
        }
        if uses_native_operators(self.subject):
            given[build.LIBRARY] = build.kernels(self.machine, ndk=ndk)
            self._kernels = f"./{build.LIBRARY}"
        (folder / _SCRIPT).write_text(shell.script("native"))
        self._wanted = {**given, _SCRIPT: folder / _SCRIPT}
        self._hashes = {name: files.hash_file(path).sha256 for name, path in given.items()}
        for artifact in self.subject.artifacts:
            for name in {*artifact.files, facts_of(artifact).file}:
                place, path, sha256 = checked_file(self.subject.bundle, name)
                self._wanted[place], self._hashes[place] = path, sha256

    def _own(
        self, folder: Path, units: Sequence[request.Unit], able: Sequence[request.Plan], globs: Sequence[str]
    ) -> Files:
        folder.mkdir(parents=True, exist_ok=True)
        settings = self.settings
        links = self.subject.program.links if self.subject.program else []
        asked = request.Request(
            library=f"./{library.NAME}",
            kernels=self._kernels,
            threads=settings.threads,
            root=self.root,
            globs=[*globs, *request.CHANGING],
            parts=parts_of(self.subject),
            links=[(link["from_part"], link["output"], link["to_part"], link["input"]) for link in links],
            units=units,
            plans=able,
            settings=(
                max(1, settings.min_samples),
                settings.min_seconds,
                settings.max_seconds,
                settings.every_s,
                settings.cool_down_s,
            ),
        )
        (folder / _REQUEST).write_bytes(asked.packed())
        (folder / _HASHES).write_text("".join(f"{sha256} {name}\n" for name, sha256 in self._hashes.items()))
        return {_REQUEST: folder / _REQUEST, _HASHES: folder / _HASHES}

    def _answer(self, run: Run, what: str, limit_s: float) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """What the runner found, and the hash of every file that it left."""
        job = run.start(["sh", _SCRIPT, what])
        try:
            hashes = json.loads(job.wait(limit_s).read_text())["files"]
        except ValueError as error:
            raise DeviceError(f"The device's result cannot be read: {error}") from error
        finally:
            self.links_lost += job.links_lost
        answer = json.loads(fetched(run, _ANSWER, hashes[_ANSWER]).read_text())
        self._refused(answer)
        return answer, hashes

    def _refused(self, answer: Mapping[str, Any]) -> None:
        if answer.get("ok") is False:
            raise DeviceError(
                f"The runner failed: {shell.printable(str(answer['what']))}",
                where=f"{self.device.transport.address}, {self.subject.target}",
            )

    def _shown(self, part: str, call: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """In the signature's dtypes, as a session gives them: 16-bit floats of a file as float32."""
        artifact = next(one for one in self.subject.artifacts if one.part == part)
        dtypes = {spec["name"]: spec["dtype"] for spec in facts_of(artifact).signature["outputs"]}
        wide = {name: "float32" if dtypes[name] in {"float16", "bfloat16"} else dtypes[name] for name in call}
        return {name: value.astype(wide[name], copy=False) for name, value in call.items()}


class _tree:  # noqa: N801 - a context manager that reads like a function
    """The device's files as a tree, for as long as the block lasts; with `cpus`, only those cores."""

    def __init__(self, shown: Mapping[str, str | None], cpus: Sequence[int] | None) -> None:
        self._shown, self._cpus = shown, cpus
        self._folder = tempfile.TemporaryDirectory(prefix="edgepack-tree-")

    def __enter__(self) -> Path:
        return answers.plant(dict(self._kept()), Path(self._folder.name))

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def _kept(self) -> Iterator[tuple[str, str | None]]:
        begin = "sys/devices/system/cpu/cpu"
        for name, text in self._shown.items():
            number = name.removeprefix(begin).partition("/")[0]
            if (
                self._cpus is None
                or not name.startswith(begin)
                or (number.isdigit() and int(number) in self._cpus)
            ):
                yield name, text
