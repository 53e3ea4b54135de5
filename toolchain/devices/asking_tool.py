"""Asking by a runtime's own benchmark tool, which the user has built for the device: part by part, where it is put."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime import environment
from edgepack.runtime.devices import shell
from edgepack.runtime.devices.device import Device, Run
from edgepack.runtime.devices.native import answers, request
from edgepack.runtime.devices.runner import readings
from edgepack.toolchain import files
from edgepack.toolchain.devices import judging
from edgepack.toolchain.devices.asking import CHECK_LIMIT_S, Files, fetched
from edgepack.toolchain.devices.results import (
    NO_PYTHON,
    Cluster,
    DeviceFacts,
    Measured,
    Reading,
    TargetProfile,
)
from edgepack.toolchain.devices.settings import Settings
from edgepack.toolchain.devices.subject import Subject, calls_of, checked_file, facts_of
from edgepack.toolchain.devices.tools import PROGRAM, RuntimeTool
from edgepack.toolchain.errors import DeviceError, TargetError, UsageError
from edgepack.toolchain.results import ArtifactResult, Environment, Parity

if TYPE_CHECKING:
    import numpy as np

_SCRIPT, _HASHES = "tool.sh", "hashes"
_FILE = re.compile(r"\x1e([^\n]*)\n([^\x1e]*)")


class ToolAsking:
    """A target run by a runtime's own tool, on the cores that the system chooses.

    Args:
        device: Open.
        subject: The target.
        settings: How long.
        root: Where the device's /proc and /sys are.
        tool: Which tool it is.
        program: Its file, built for the device.

    Raises:
        UsageError: There is no such program, or the device is emulated.
        TargetError: An artifact is of several files, which the tool does not take.
    """

    def __init__(
        self,
        device: Device,
        subject: Subject,
        settings: Settings,
        root: str,
        tool: RuntimeTool,
        program: Path,
    ) -> None:
        if not program.is_file():
            raise UsageError(f"There is no such program for {tool.name}", where=str(program))
        if device.transport.emulated is not None:
            raise UsageError(
                "On an emulated board a benchmark tool's figures mean nothing",
                where=f"{tool.name}, {device.transport.address}",
                todo="Leave its option out",
            )
        if any(set(one.files) - {facts_of(one).file} for one in subject.artifacts):
            raise TargetError(f"{tool.name} takes a model of one file", where=subject.target)
        self.device, self.subject, self.settings, self.root = device, subject, settings, root
        self._tool, self._program = tool, program
        self.links_lost = 0
        self.facts: DeviceFacts | None = None

    def profile(self) -> TargetProfile:
        """Check where the tool gives outputs, then measure; each run on the device in a folder of its own.

        Raises:
            DeviceError: The device or the tool failed.
            GateError: Its outputs are not those of the bundle.
        """
        one = self.subject
        self.facts = self._facts()
        outputs: dict[str, list[dict[str, np.ndarray]]] = {}
        once_ms, sent = dict.fromkeys((artifact.part for artifact in one.artifacts), 0.0), 0
        if self._tool.gives_outputs:
            for artifact in one.artifacts:
                outputs[artifact.part], once_ms[artifact.part], new = self._checked(artifact)
                sent += new
        parity = self._judged(outputs) if outputs else {}
        found = []
        for artifact in one.artifacts:
            entry, new = self._measured(artifact, once_ms[artifact.part])
            found.append(entry)
            sent += new
        return TargetProfile(
            target=one.target,
            precisions={artifact.part: artifact.precision for artifact in one.artifacts},
            size_bytes=sum(artifact.size_bytes for artifact in one.artifacts),
            sent_bytes=sent,
            parity=parity,
            measured=found,
        )

    def _judged(self, outputs: Mapping[str, Sequence[Mapping[str, np.ndarray]]]) -> dict[str, Parity]:
        """Part by part: a tool keeps no state from call to call."""
        alone = Subject(self.subject.bundle, self.subject.target, self.subject.artifacts, None)
        return judging.judge(alone, outputs)

    def _checked(self, artifact: ArtifactResult) -> tuple[list[dict[str, np.ndarray]], float, int]:
        """Outputs of the recorded calls, the milliseconds of the last, and how many bytes were sent."""
        feeds, _ = calls_of(self.subject.bundle, facts_of(artifact).cases)
        self.device.tell(f"checking {self.subject.target} on the device with {self._tool.name}")
        words = self._tool.check_words(
            self._model(artifact), len(self._inputs(artifact)), self.settings.threads
        )
        with tempfile.TemporaryDirectory(prefix="edgepack-tool-") as name, self.device.run() as run:
            sent = self._place(run, Path(name), artifact, feeds)
            hashes = self._run(run, len(feeds), words, CHECK_LIMIT_S)
            calls = [self._outputs(run, artifact, turn, hashes) for turn in range(len(feeds))]
            once = self._tool.read(self._log(run, len(feeds) - 1, hashes))
        return calls, once.mean_ms, sent

    def _measured(self, artifact: ArtifactResult, once_ms: float) -> tuple[Measured, int]:
        settings = self.settings
        feeds, _ = calls_of(self.subject.bundle, facts_of(artifact).cases)
        self.device.tell(f"measuring {self.subject.target} on the device with {self._tool.name}")
        inputs = len(self._inputs(artifact))
        words = self._tool.measure_words(self._model(artifact), inputs, settings.threads, settings, once_ms)
        with tempfile.TemporaryDirectory(prefix="edgepack-tool-") as name, self.device.run() as run:
            sent = self._place(run, Path(name), artifact, feeds[:1])
            before = self._reading()
            hashes = self._run(run, 1, words, settings.seconds)
            after = self._reading()
            figures = self._tool.read(self._log(run, 0, hashes))
        entry = Measured(
            unit=artifact.part,
            plan="as-is",
            threads=settings.threads,
            tool=figures,
            calls_per_s=1e3 / figures.mean_ms,
            before=before,
            after=after,
            notes=figures.notes,
        )
        return entry, sent

    def _place(
        self, run: Run, folder: Path, artifact: ArtifactResult, feeds: Sequence[Mapping[str, np.ndarray]]
    ) -> int:
        """The tool, its script, the model and the inputs of every turn; returns how many bytes were sent."""
        place, model, sha256 = checked_file(self.subject.bundle, facts_of(artifact).file)
        wanted: Files = {PROGRAM: self._program, _SCRIPT: folder / _SCRIPT, place: model}
        (folder / _SCRIPT).write_text(shell.script("tool"))
        hashes = {PROGRAM: files.hash_file(self._program).sha256, place: sha256}
        own: Files = {}
        for turn, feed in enumerate(feeds if self._tool.gives_outputs else []):
            for index, spec in enumerate(self._inputs(artifact)):
                name = f"in-{turn}-{index}.bin"
                (folder / name).write_bytes(feed[str(spec["name"])].tobytes())
                own[name] = folder / name
        (folder / _HASHES).write_text("".join(f"{value} {name}\n" for name, value in hashes.items()))
        own[_HASHES] = folder / _HASHES
        sent = run.place(wanted, own)
        return sum({**wanted, **own}[name].stat().st_size for name in sent)

    def _run(self, run: Run, turns: int, words: Sequence[str], limit_s: float) -> dict[str, str]:
        """Run it; the hashes of what it left."""
        job = run.start(["sh", _SCRIPT, str(turns), f"./{PROGRAM}", *words])
        try:
            answer = json.loads(job.wait(limit_s).read_text())
            code, hashes = int(answer["code"]), dict(answer["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise DeviceError(f"The device's result cannot be read: {error}") from error
        finally:
            self.links_lost += job.links_lost
        if code != 0:
            last = max((name for name in hashes if name.startswith("log-")), default="")
            said = fetched(run, last, hashes[last]).read_text(errors="replace") if last else ""
            words_ = " | ".join(line.strip() for line in shell.printable(said).splitlines() if line.strip())[
                -300:
            ]
            raise DeviceError(
                f"{self._tool.name} ended with exit code {code}: {words_ or 'it said nothing'}",
                where=str(self.device.transport.address),
                todo="See whether the program is built for the device's processor and system",
            )
        return hashes

    def _log(self, run: Run, turn: int, hashes: Mapping[str, str]) -> str:
        name = f"log-{turn}.txt"
        return shell.printable(fetched(run, name, hashes[name]).read_text(errors="replace"))

    def _outputs(
        self, run: Run, artifact: ArtifactResult, turn: int, hashes: Mapping[str, str]
    ) -> dict[str, np.ndarray]:
        import numpy as np

        found = {}
        _, reference = calls_of(self.subject.bundle, facts_of(artifact).cases)
        for index, spec in enumerate(facts_of(artifact).signature["outputs"]):
            name, file = str(spec["name"]), f"out-{turn}-{index}.bin"
            if file not in hashes:
                raise DeviceError(f"{self._tool.name} left no output '{name}'", where=self.subject.target)
            wanted = reference[turn][name]
            values = np.frombuffer(fetched(run, file, hashes[file]).read_bytes(), wanted.dtype)
            if values.size != wanted.size:
                raise DeviceError(
                    f"{self._tool.name} left {values.size} values of '{name}' instead of {wanted.size}",
                    where=self.subject.target,
                )
            found[name] = values.reshape(wanted.shape)
        return found

    def _facts(self) -> DeviceFacts:
        with tempfile.TemporaryDirectory(prefix="edgepack-tree-") as name:
            tree = self._tree(Path(name), (*request.GLOBS, *request.CHANGING))
            found = environment.facts(
                self.settings.threads, spinning=False, root=tree, cores=len(readings.cores(tree))
            )
            clusters = readings.clusters(tree)
        found |= {"python": NO_PYTHON, "packages": {}}
        return DeviceFacts(
            address=str(self.device.transport.address),
            system=self.device.system,
            environment=Environment(**found),
            clusters=[Cluster(**cluster) for cluster in clusters],
        )

    def _reading(self) -> Reading:
        with tempfile.TemporaryDirectory(prefix="edgepack-tree-") as name:
            return Reading(**readings.reading(self._tree(Path(name), request.CHANGING)))

    def _tree(self, folder: Path, patterns: Sequence[str]) -> Path:
        """The device's files, as far as they may be read."""
        shown = self.device.transport.run("facts", self.root, *patterns).stdout
        folders = re.compile(r"sys/devices/system/cpu/cpu[0-9]+")
        found = {file: None if folders.fullmatch(file) else text for file, text in _FILE.findall(shown)}
        return answers.plant(found, folder)

    def _model(self, artifact: ArtifactResult) -> str:
        return checked_file(self.subject.bundle, facts_of(artifact).file)[0]

    @staticmethod
    def _inputs(artifact: ArtifactResult) -> Sequence[Mapping[str, object]]:
        inputs: Sequence[Mapping[str, object]] = facts_of(artifact).signature["inputs"]
        return inputs
