"""The user's metric, taken of the fp32 program once and of every candidate that could ship."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.quantize.base import CalibrationData
from edgepack.quantize.data import fit_feed
from edgepack.toolchain import metrics
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.language import Language, perplexity
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.pipeline.workbench import Workbench, read_json, versions
from edgepack.toolchain.program import Program, Signature
from edgepack.toolchain.results import Parity, StageRecord

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]
    Files = Mapping[str, tuple[str, Path, Signature]]

_RESULT = "metric.json"


@dataclass
class Meter:
    """A metric for the candidates of a run.

    Attributes:
        bench: The run's tools.
        program: The verified fp32 program.
        folder: Its folder in the cache.
        metric: What `--metric` named; no agreement measure, which `parity` takes itself.
        text: Calibration data of the part that takes text, asked for when perplexity is.
    """

    bench: Workbench
    program: Program
    folder: Path
    metric: metrics.Metric
    text: Callable[[str], CalibrationData]

    @property
    def limit(self) -> float:
        """The user's limit, or the metric's usual one."""
        key = self.metric.key
        return self.bench.recipe.gate.get(key, metrics.DEFAULT_LIMITS[key])

    @property
    def key(self) -> dict[str, Any]:
        """What can change the metric's number; a function of the user's can read anything, so it is asked anew."""
        own = self.bench.run_id if self.metric.function else self._sequences[1]
        return {"metric": self.metric.name, "limit": self.limit, "own": own}

    @cached_property
    def reference(self) -> float:
        """The fp32 program's number.

        Raises:
            UsageError: The metric cannot be taken of this model.
        """

        def build(folder: Path, record: StageRecord) -> None:
            files = {
                part.name: (judging.REFERENCE_SESSION, part.path, part.signature) for part in self.program
            }
            value = self._value(files)
            record.detail = f"{self.metric.name} {value:.6g}"
            (folder / _RESULT).write_text(json.dumps(value))

        key = {**self.key, "program": self.bench.digest(self.folder), "versions": versions("onnxruntime")}
        return float(read_json(self.bench.keep("metric of fp32", key, build) / _RESULT))

    def judge(self, parity: Parity, files: Files) -> None:
        """Take the metric of a candidate and write it into `parity`, which fails where it is beyond the limit.

        Args:
            parity: Of the same candidate.
            files: Session, file and signature of every part.
        """
        reference = self.reference
        value: float | str
        try:
            value = self._value(files)
        except UsageError as error:
            # fp32 gave a number, so it is the candidate that cannot be judged.
            value = error.what
        metrics.judge(parity, self.metric, value, reference, self.limit)

    def _value(self, files: Files) -> float:
        with self._opened(files) as model:
            if self.metric.function:
                return metrics.evaluate(self.metric, model)
            language = self._language
            found = perplexity(model, language, self._sequences[0])
        if found is None:
            raise UsageError(
                "No sequence of the data is long enough for a perplexity, or the logits are not of every token",
                where=self.metric.name,
                todo="Give longer texts with --calibration, or use another metric",
            )
        return found

    @cached_property
    def _language(self) -> Language:
        language = Language.of(self.program)
        if language is None:
            raise UsageError(
                f"The perplexity of a program with the parts {', '.join(self.program.parts)} is not defined here: "
                "it must take tokens and give logits",
                where="--metric",
                todo="Use --metric python:file.py:function",
            )
        return language

    @cached_property
    def _sequences(self) -> tuple[Sequence[np.ndarray], str]:
        """Held-out token sequences, and their data's fingerprint."""
        language = self._language
        data = self.text(language.prompt)
        if data.facts.kind == "synthetic":
            raise UsageError(
                "The perplexity of random tokens says nothing, and there is no text to take it on",
                where="--metric",
                todo="Give real token sequences with --calibration",
            )
        longest = self.bench.recipe.size_of("sequence")
        return [language.sequence(feed)[:longest] for feed in data.held_out], data.fingerprint

    @contextlib.contextmanager
    def _opened(self, files: Files) -> Iterator[StatefulProgram]:
        threads = max(self.bench.recipe.threads, self.bench.cores)
        with contextlib.ExitStack() as stack:
            runs = {}
            for name, (session, path, signature) in files.items():
                opened = stack.enter_context(judging.open_session(session, path, signature, threads))
                runs[name] = _fitted(opened.run, signature)
            yield StatefulProgram(
                {name: self.program.parts[name].signature for name in files},
                self.program.links,
                lambda part, feed: runs[part](feed),
                {part.name: part.initial for part in self.program},
            )


def _fitted(run: Callable[[Arrays], Arrays], signature: Signature) -> Callable[[Arrays], Arrays]:
    """A static artifact called with inputs of the model's own sizes: row by row, each cut or padded."""
    if signature.symbols:
        return run

    def call(feed: Arrays) -> Arrays:
        import numpy as np

        rows = {spec.shape[0] for spec in signature.inputs if spec.shape}
        given = {len(feed[spec.name]) for spec in signature.inputs if spec.shape}
        if rows == {1} and len(given) == 1 and given != {1}:
            each = [call({n: v[i : i + 1] for n, v in feed.items()}) for i in range(next(iter(given)))]
            return {name: np.concatenate([row[name] for row in each]) for name in each[0]}
        return run(fit_feed(feed, signature))

    return call
