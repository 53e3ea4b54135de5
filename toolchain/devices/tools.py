"""The runtimes' own benchmark tools, where the user has them: how each is asked, and what its words mean.

benchmark_model   LiteRT's: random inputs of the file's own sizes; mean, spread and, in newer ones, median
executor_runner   ExecuTorch's: inputs and outputs of files, and the time of all executions together

The forms are those that the tools of TensorFlow 2.4 to 2.19 and of ExecuTorch 0.6 to 1.0 print; anything else is an
error, never a figure.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

from edgepack.toolchain.devices.results import ToolFigures
from edgepack.toolchain.devices.settings import Settings
from edgepack.toolchain.errors import DeviceError
from edgepack.toolchain.registry import Registry
from edgepack.toolchain.results import Tool

PROGRAM = "tool"
"""What the program is called on the device."""
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_LONGEST_WORDS = 300


class RuntimeTool(ABC):
    """A tool.

    Attributes:
        suffix: Of the files that it runs.
        gives_outputs: Whether it computes given inputs and leaves what came of them.
    """

    suffix: str
    gives_outputs = False

    def check_words(self, model: str, inputs: int, threads: int) -> list[str]:
        """Arguments for one call on in-0.bin, in-1.bin, ..., whose outputs become out-0.bin, ..."""
        raise NotImplementedError

    @abstractmethod
    def measure_words(
        self, model: str, inputs: int, threads: int, settings: Settings, once_ms: float
    ) -> list[str]:
        """Arguments for a measurement; `once_ms` is what one call took, 0 where that is not known."""

    @abstractmethod
    def read(self, log: str) -> ToolFigures:
        """The figures in its words.

        Raises:
            DeviceError: There are none.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """The tool's."""

    def _failed(self, log: str) -> DeviceError:
        words = " | ".join(line.strip() for line in log.splitlines() if line.strip())[-_LONGEST_WORDS:]
        return DeviceError(
            f"{self.name} did not say what it measured: {words or 'it said nothing'}",
            todo="See whether the program is built for the device, and whether it runs the file by hand",
        )


tools: Registry[type[RuntimeTool]] = Registry("tool", "edgepack.toolchain.devices.tools")


@tools.register("benchmark_model")
class BenchmarkModel(RuntimeTool):
    """LiteRT's."""

    suffix = ".tflite"
    name = "benchmark_model"
    _TIMED = re.compile(
        rf"count=(?P<count>\d+)(?: first={_NUMBER})? curr=(?P<curr>{_NUMBER})"
        rf"(?: min=(?P<min>{_NUMBER}) max=(?P<max>{_NUMBER}) avg=(?P<mean>{_NUMBER}) std=(?P<std>{_NUMBER}))?"
        rf"(?: p5={_NUMBER} median=(?P<median>{_NUMBER}) p95=(?P<p95>{_NUMBER}))?\s*$",
        re.MULTILINE,
    )
    _WHOLE = re.compile(
        rf"Inference timings in us: Init: (?P<init>{_NUMBER}), First inference: (?P<first>{_NUMBER}), "
        rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): (?P<mean>{_NUMBER})\s*$",
        re.MULTILINE,
    )

    def measure_words(
        self, model: str, inputs: int, threads: int, settings: Settings, once_ms: float
    ) -> list[str]:
        del inputs, once_ms
        return [
            f"--graph={model}",
            f"--num_threads={threads}",
            f"--num_runs={max(1, settings.min_samples)}",
            f"--min_secs={settings.min_seconds:g}",
            f"--max_secs={settings.max_seconds:g}",
        ]

    def read(self, log: str) -> ToolFigures:
        timed, whole = list(self._TIMED.finditer(log)), list(self._WHOLE.finditer(log))
        if len(whole) != 1 or not timed:
            raise self._failed(log)
        last, end = timed[-1], whole[0]
        mean = _ms(last["mean"] or last["curr"])
        # The summary rounds to six digits.
        if mean is None or abs(mean - float(end["mean"]) / 1e3) > 1e-4 * mean or mean <= 0:
            raise self._failed(log)
        return ToolFigures(
            tool=Tool(name=self.name, version="unknown"),
            calls=int(last["count"]),
            mean_ms=mean,
            std_ms=_ms(last["std"]),
            min_ms=_ms(last["min"]),
            max_ms=_ms(last["max"]),
            median_ms=_ms(last["median"]),
            p95_ms=_ms(last["p95"]),
            first_run_ms=_ms(end["first"]),
            load_ms=_ms(end["init"]),
            notes=["random inputs of the file's own sizes; it gives no outputs to check"],
        )


@tools.register("executor_runner")
class ExecutorRunner(RuntimeTool):
    """ExecuTorch's."""

    suffix = ".pte"
    name = "executor_runner"
    gives_outputs = True
    _DONE = re.compile(
        rf"Model executed successfully (?P<count>\d+) time\(s\) in (?P<total>{_NUMBER}) ms\.\s*$",
        re.MULTILINE,
    )

    def check_words(self, model: str, inputs: int, threads: int) -> list[str]:
        return [*self._words(model, inputs, threads), "--num_executions=1", "--output_file=out"]

    def measure_words(
        self, model: str, inputs: int, threads: int, settings: Settings, once_ms: float
    ) -> list[str]:
        enough = max(settings.min_samples, round(settings.min_seconds * 1e3 / max(once_ms, 1e-3)))
        most = max(1, int(settings.max_seconds * 1e3 / max(once_ms, 1e-3)))
        return [*self._words(model, inputs, threads), f"--num_executions={max(1, min(enough, most))}"]

    def _words(self, model: str, inputs: int, threads: int) -> list[str]:
        given = ",".join(f"in-{index}.bin" for index in range(inputs))
        return [f"--model_path={model}", f"--inputs={given}", f"--cpu_threads={threads}"]

    def read(self, log: str) -> ToolFigures:
        found = list(self._DONE.finditer(log))
        if len(found) != 1 or int(found[0]["count"]) < 1 or float(found[0]["total"]) <= 0:
            raise self._failed(log)
        count = int(found[0]["count"])
        return ToolFigures(
            tool=Tool(name=self.name, version="unknown"),
            calls=count,
            mean_ms=float(found[0]["total"]) / count,
            notes=["a mean of all calls, the first among them; it tells no single one"],
        )


def of_file(name: str, chosen: Sequence[RuntimeTool]) -> RuntimeTool | None:
    """The tool that runs a file."""
    return next((one for one in chosen if name.endswith(one.suffix)), None)


def _ms(microseconds: str | None) -> float | None:
    return None if microseconds is None else float(microseconds) / 1e3
