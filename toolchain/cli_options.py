"""Options of the commands, with what help says of them, and how their texts become values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def _complete_target(incomplete: str) -> list[str]:
    from edgepack.targets.base import FAMILIES, targets

    return [name for name in (*FAMILIES, *targets.names()) if name.startswith(incomplete)]


def _complete_precision(incomplete: str) -> list[str]:
    from edgepack.toolchain.recipe import PRECISIONS

    return [name for name in PRECISIONS if name.startswith(incomplete)]


# Of every command
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]

# Of several
BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that export wrote.")]
UseCache = Annotated[bool, typer.Option(help="Keep and reuse finished stages.")]
TrustPickle = Annotated[bool, typer.Option("--trust-pickle", help="Allow unpickling the model's weights.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Allow running code from the model's folder.")
]
Calibration = Annotated[
    str | None,
    typer.Option("--calibration", "-c", help="Real inputs: .npz, folder, .txt or python:factory."),
]

# Of export, in the order of its help
Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL", help="Hugging Face folder, .onnx, .pt2, package.module:factory or file.py:factory."
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        help="Targets or families, comma-separated [default: cpu,npu,mobile].",
        autocompletion=_complete_target,
    ),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The bundle's folder [default: build].")]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        "-p",
        help="auto, fp32, int8, or an exact one [default: auto].",
        autocompletion=_complete_precision,
    ),
]
Quantize = Annotated[
    list[str] | None,
    typer.Option(
        "--quantize", help="An option of the precision's quantizer: ranges=percentile. Repeat for more."
    ),
]
TargetOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--target-option", help="An option of the target's: memory_mode=Sram_Only. Repeat for more."
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option("--keep", help="A node that quantizers leave float; bisect names them. Repeat for more."),
]
Assign = Annotated[str | None, typer.Option(help="A file with every layer's form, for --precision mixed.")]
Task = Annotated[str | None, typer.Option(help="The model's task, when its configuration does not tell.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--inputs", "-i", help='An input: "name:dtype[1,seq=128]". Repeat for more.'),
]
Sizes = Annotated[
    list[str] | None,
    typer.Option("--size", help="Size of a named dimension: sequence=128. Repeat for more."),
]
Buckets = Annotated[
    list[str] | None,
    typer.Option(
        "--buckets",
        help="Sizes that targets with static shapes are each built in: tokens=32,64,128. Repeat for more.",
    ),
]
Pads = Annotated[
    list[str] | None,
    typer.Option("--pad", help="What an input is padded with up to a bucket: mask=-10000. Repeat for more."),
]
Host = Annotated[
    list[str] | None,
    typer.Option("--host", help="What accelerators leave to the host, as a part of its own: lookups."),
]
Static = Annotated[bool, typer.Option("--static", help="Fix every dimension at its size, on all targets.")]
CalibrationSamples = Annotated[int | None, typer.Option(help="Samples that calibrate [default: 96].")]
Gates = Annotated[
    list[str] | None,
    typer.Option("--gate", help="A bound of your own: cosine=0.995. Repeat for more."),
]
Metric = Annotated[
    str | None,
    typer.Option(
        help="What judges quantized artifacts: cosine, top1, neighbours, perplexity or python:file.py:function."
    ),
]
Threads = Annotated[int | None, typer.Option(help="Threads within one operator [default: 1].")]
TimeBudget = Annotated[float | None, typer.Option(help="Seconds after which no further candidate is begun.")]
TimeLimit = Annotated[float | None, typer.Option(help="Seconds for one vendor tool [default: 1800].")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        help="Processes that build targets side by side [default: one a core, as memory allows].",
    ),
]
RecipeFile = Annotated[Path | None, typer.Option(help="A YAML or JSON file with these settings.")]
Measure = Annotated[bool, typer.Option(help="Time the artifacts on this machine.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the unfinished run to --out.")]


def given(**values: Any) -> dict[str, Any]:
    """The values that a user gave: None is what an option is that was left out."""
    return {key: value for key, value in values.items() if value is not None}


def split(texts: list[str] | None) -> list[str] | None:
    """Names that are separated by commas or by repeating the option; None without one."""
    return [name.strip() for text in texts or [] for name in text.split(",") if name.strip()] or None


def pairs(texts: list[str] | None, kind: Callable[[str], Any], option: str) -> dict[str, Any] | None:
    """Values by name of texts such as "sequence=128"; None without one.

    Args:
        texts: What was given.
        kind: Makes a value of what is behind the sign: `scalar`, or a type of numbers.
        option: The option's name, for the error.

    Raises:
        UsageError: A text without a sign, or a value that is not of the kind.
    """
    from edgepack.toolchain.errors import UsageError

    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        try:
            if not equals:
                raise ValueError
            found[name.strip()] = kind(value)
        except ValueError:
            value = "value" if kind is scalar else "number,number" if kind is whole_numbers else "number"
            raise UsageError(f"'{text}' is not of the form name={value}", where=option) from None
    return found or None


def whole_numbers(text: str) -> list[int]:
    """The numbers that commas separate; a ValueError for anything else."""
    return [int(one) for one in text.split(",")]


def scalar(text: str) -> str | float | bool:
    """What a value looks like: true, false, a number, or text."""
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
