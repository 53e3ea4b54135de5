"""Calibration data: real inputs from the user, else generic text for text models, else noise.

The samples are split in order: the first calibrate, the following, never seen by a quantizer, judge.
What the data was is a fact that travels with every artifact (`results.Calibration`).

    data.npz          arrays by input name, first axis = samples
    folder            one .npz a sample (or one .npy a sample, for a model of one input)
    sentences.txt     a sentence a line, for Hugging Face models with a tokenizer
    python:factory    package.module:factory or file.py:factory, giving dicts of arrays by input name
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgepack.quantize._unpadded import with_padding
from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.samples import SampleFile, Samples, fingerprint
from edgepack.quantize.text import Tokenizer, generic_sentences
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.program import Part, Signature, TensorSpec
from edgepack.toolchain.python_reference import load_object
from edgepack.toolchain.results import Calibration

if TYPE_CHECKING:
    import numpy as np

_HOW = "Give a .npz, a folder of .npz files, a .txt of sentences, or python:module:factory (see docs/calibration.md)"
_MIN_SAMPLES = 4
MAX_HELD_OUT = 256
"""How many samples judge at most: their outputs are compared in memory."""


def load(
    given: str | None, part: Part, sizes: Mapping[str, int], model: str, samples: int
) -> CalibrationData:
    """Calibration and held-out samples for a part.

    Args:
        given: What the user named, or None.
        part: The part; its signature says what a sample must be, its cases what is legal.
        sizes: Sizes of named dimensions for samples that are made here.
        model: The source as the user named it; a folder may hold a tokenizer.
        samples: How many calibrate; up to as many again judge, at most `MAX_HELD_OUT`.

    Raises:
        UsageError: The data cannot be read or does not fit the signature.
    """
    wanted = samples + min(samples, MAX_HELD_OUT)
    kind: Literal["user", "generic", "synthetic"] = "user"
    if given is not None:
        found, description = _user(given, part.signature, model), given
    else:
        tokenizer = Tokenizer.of(Path(model), part.signature)
        if tokenizer is not None:
            kind, description = "generic", "sentences of Python's own documentation, tokenized; not your data"
            found = (tokenizer(text, sizes.get("sequence")) for text in generic_sentences())
        else:
            kind, description = "synthetic", "random values; no real input was seen"
            found = _synthetic(part, sizes, wanted)
    file = SampleFile(
        _checked(feed, part.signature, index, given or kind)
        for index, feed in enumerate(islice(found, wanted))
    )
    if len(file) < _MIN_SAMPLES:
        raise UsageError(
            f"The calibration data has {len(file)} samples, at least {_MIN_SAMPLES} are needed", where=given
        )
    if (
        kind == "user"
        and part.signature.inputs
        and len({fingerprint([feed]) for feed in Samples(file, range(len(file)))}) == 1
    ):
        raise UsageError(
            f"All {len(file)} samples of the calibration data are the same: neither ranges nor a gate follow from one",
            where=given,
            todo="Give different real inputs",
        )
    # With fewer samples than asked for, a third judges: a gate on two samples says nothing.
    count = min(samples, len(file) - max(2, min(MAX_HELD_OUT, len(file) // 3)))
    calibrate, held_out = Samples(file, range(count)), Samples(file, range(count, len(file)))
    facts = Calibration(kind=kind, description=description, samples=len(calibrate), held_out=len(held_out))
    return CalibrationData(facts, calibrate, held_out, fingerprint(Samples(file, range(len(file)))))


def fit(data: CalibrationData, signature: Signature) -> CalibrationData:
    """The same samples cut or padded with zeros to a static signature (padded tokens are masked).

    Where none had to be padded, one that calibrates is masked in part (`_unpadded`).
    """
    if not any(isinstance(d, int) for spec in signature.inputs for d in spec.shape):
        return data

    def cut(feeds: Sequence[Feeds]) -> Sequence[Feeds]:
        if isinstance(feeds, Samples):
            return feeds.changed(lambda feed: fit_feed(feed, signature))
        return [fit_feed(feed, signature) for feed in feeds]

    shapes = hashlib.sha256(f"{data.fingerprint} {signature.inputs}".encode()).hexdigest()
    fitted = CalibrationData(data.facts, cut(data.samples), cut(data.held_out), shapes)
    return with_padding(fitted, signature)


def fit_feed(feed: Feeds, signature: Signature) -> dict[str, np.ndarray]:
    """One sample cut or zero-padded to the static dimensions of `signature`.

    Raises:
        UsageError: The number of dimensions differs.
    """
    import numpy as np

    made = {}
    for spec in signature.inputs:
        array = feed[spec.name]
        if array.ndim != len(spec.shape):
            raise UsageError(
                f"A sample of '{spec.name}' has {array.ndim} dimensions, the input has {len(spec.shape)}"
            )
        target = tuple(d if isinstance(d, int) else n for d, n in zip(spec.shape, array.shape, strict=True))
        cut = array[tuple(slice(0, n) for n in target)]
        padding = [(0, n - have) for n, have in zip(target, cut.shape, strict=True)]
        made[spec.name] = np.pad(cut, padding) if any(after for _, after in padding) else cut
    return made


def _user(given: str, signature: Signature, model: str) -> Iterator[Feeds]:
    path = Path(given.removeprefix("python:"))
    if given.startswith("python:") or (":" in given and not path.exists()):
        return _from_factory(given.removeprefix("python:"))
    if path.suffix == ".npz" and path.is_file():
        return _from_npz(path, signature)
    if path.suffix == ".txt" and path.is_file():
        tokenizer = Tokenizer.of(Path(model), signature)
        if tokenizer is None:
            raise UsageError(
                "Sentences were given, and the model has no tokenizer.json",
                where=given,
                todo="Give a .npz of token ids",
            )
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
        return (tokenizer(line, None) for line in lines if line)
    if path.is_dir():
        return _from_folder(path, signature)
    raise UsageError(f"There is no calibration data at '{given}'", where="--calibration", todo=_HOW)


def _from_npz(path: Path, signature: Signature) -> Iterator[Feeds]:
    arrays = _load_npz(path)
    missing = [spec.name for spec in signature.inputs if spec.name not in arrays]
    if missing:
        raise UsageError(
            f"{path.name} has no array '{missing[0]}'; it has {', '.join(arrays) or 'none'}",
            where=str(path),
            todo=f"Name the arrays like the inputs: {', '.join(s.name for s in signature.inputs)}",
        )
    lengths = {
        spec.name: arrays[spec.name].shape[0] if arrays[spec.name].ndim else 0 for spec in signature.inputs
    }
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UsageError(
            f"The arrays of {path.name} have different numbers of samples: {counts}",
            where=str(path),
            todo="Give every input as many; the first axis counts them",
        )
    for index in range(max(lengths.values(), default=0)):
        yield {
            spec.name: arrays[spec.name][index]
            if arrays[spec.name].ndim == len(spec.shape) + 1
            else arrays[spec.name][index : index + 1]
            for spec in signature.inputs
        }


def _from_folder(path: Path, signature: Signature) -> Iterator[Feeds]:
    import numpy as np

    names = sorted(p for p in path.iterdir() if p.suffix in {".npz", ".npy"})
    if not names:
        raise UsageError("The calibration folder holds no .npz or .npy file", where=str(path), todo=_HOW)
    for name in names:
        if name.suffix == ".npz":
            yield _load_npz(name)
        else:
            try:
                yield {signature.inputs[0].name: np.load(name, allow_pickle=False)}
            except (OSError, EOFError, ValueError) as error:
                raise UsageError(f"{name.name} cannot be read: {error}", where=str(name)) from error


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:
        raise UsageError(
            f"{path.name} cannot be read: {type(error).__name__}: {error}", where=str(path)
        ) from error


def _from_factory(name: str) -> Iterator[Feeds]:
    factory = load_object(name, what="calibration factory", todo=_HOW)
    try:
        yield from factory()
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"The calibration factory raised {type(error).__name__}: {error}", where=name, todo=_HOW
        ) from error


def _synthetic(part: Part, sizes: Mapping[str, int], count: int) -> Iterator[Feeds]:
    """Random inputs of the reference cases' ranges."""
    import numpy as np

    example = part.cases[0].inputs
    rng = np.random.default_rng(7)
    own = {
        dim: example[spec.name].shape[axis]
        for spec in part.signature.inputs
        for axis, dim in enumerate(spec.shape)
        if isinstance(dim, str)
    }
    for _ in range(count):
        feed = {}
        for spec in part.signature.inputs:
            seen = example[spec.name]
            shape = spec.resolve({**own, **sizes})
            if seen.dtype.kind in "iub":
                top = max(int(case.inputs[spec.name].max(initial=0)) for case in part.cases) + 1
                feed[spec.name] = rng.integers(0, top, shape).astype(seen.dtype)
            else:
                noise = rng.standard_normal(shape) * float(seen.std() or 1.0) + float(seen.mean())
                feed[spec.name] = noise.astype(seen.dtype)
        yield feed


def _checked(feed: object, signature: Signature, index: int, where: str) -> dict[str, np.ndarray]:
    import numpy as np

    if not isinstance(feed, Mapping):
        raise UsageError(
            f"Sample {index} is {type(feed).__name__}, not a dict of arrays by input name",
            where=where,
            todo=_HOW,
        )
    made = {}
    for spec in signature.inputs:
        if spec.name not in feed:
            raise UsageError(
                f"Sample {index} has no '{spec.name}'; it has {', '.join(map(str, feed))}",
                where=where,
                todo=_HOW,
            )
        array = np.asarray(feed[spec.name])
        _check_array(array, spec, index, where)
        made[spec.name] = _converted(array, spec, index, where)
    return made


def _converted(array: np.ndarray, spec: TensorSpec, index: int, where: str) -> np.ndarray:
    """The array in the input's dtype, contiguous.

    Raises:
        UsageError: It holds a value that the dtype does not have, which a cast would turn into another.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        made = np.asarray(array, spec.dtype, order="C")
    if made.dtype != array.dtype:
        kept = np.isfinite(made).all() if made.dtype.kind == "f" else (made == array).all()
        if not kept:
            raise UsageError(
                f"Sample {index} of '{spec.name}' holds values beyond {spec.dtype}: {array.min()} to {array.max()}",
                where=where,
                todo="Give values in the input's own range",
            )
    return made


def _check_array(array: np.ndarray, spec: TensorSpec, index: int, where: str) -> None:
    import numpy as np

    fits = array.ndim == len(spec.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"Sample {index} of '{spec.name}' has shape {list(array.shape)}, the input is {spec}", where=where
        )
    integer = np.dtype(spec.dtype).kind in "iub"
    if array.dtype.kind not in ("iub" if integer else "iubf"):
        raise UsageError(
            f"Sample {index} of '{spec.name}' is {array.dtype}, the input is {spec}", where=where
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError(f"Sample {index} of '{spec.name}' holds NaN or infinity", where=where)
