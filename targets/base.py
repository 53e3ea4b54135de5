"""What a target is: what it needs, how it lowers, which precisions it offers, how it compiles.

A target is one small class in one file, filed by `@targets.register("family:name")` or by the
entry-point group `edgepack.targets`. It never measures and never judges: the pipeline does both.
Every method that starts a vendor's tool does so in a subprocess with a time limit
(`edgepack.toolchain.subprocesses.run_tool`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.toolchain.environments import IsolatedEnvironment
from edgepack.toolchain.errors import ToolchainMissingError
from edgepack.toolchain.options import Options
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.registry import Registry, class_problem
from edgepack.toolchain.results import Latency, Measurement, Placement, Profile, Tool

if TYPE_CHECKING:
    from edgepack.toolchain.rewrites.base import Device

FAMILIES = ("cpu", "npu", "mobile")
_NAME = re.compile(rf"(?:{'|'.join(FAMILIES)}):[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Requirement:
    """A distribution that the target needs, and the command that installs it.

    Attributes:
        distribution: Name as a package index knows it.
        command: What to type to get it.
        environment: The isolated environment that it lives in; None: that of edgepack itself.
    """

    distribution: str
    command: str
    environment: IsolatedEnvironment | None = None

    @property
    def version(self) -> str | None:
        """Installed version, or None; the distribution is looked up, not imported."""
        if self.environment is not None:
            return self.environment.version(self.distribution)
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None


@dataclass(frozen=True)
class Offer:
    """One precision that a target offers for a lowered part.

    Attributes:
        precision: "fp32", "int8-dynamic", "int8-static", ... (`toolchain.recipe.PRECISIONS`).
        quantizer: Name in the quantizer registry, or None for the float form.
        options: Keyword arguments of the quantizer.
        not_built: Why the planner does not even build it for this part; None when it does.
        fallback: Whether it costs more than the others, and is built only where none of them passed its gate, or where
            those that passed failed in company; or by its own name.
    """

    precision: str
    quantizer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    not_built: str | None = None
    fallback: bool = False


@dataclass(frozen=True)
class Context:
    """What a target may use of the run.

    Attributes:
        source: The source reference as JSON, from which a worker process can open the model again.
        sizes: Sizes of the named dimensions for targets with static shapes.
        time_limit_s: Limit of one vendor tool, in seconds.
        threads: Threads that the artifact will be run with.
        static: Whether every dimension is fixed at its size, where the target would leave it free.
        options: What the user told the target: fields of its `options_type`; for `lower` its `lowering_options`.
        rewrites: Rewrites (`toolchain.rewrites`) that are applied when the part is lowered.
        precision: For which precision they are: the form that the lowered part will be quantized to.
    """

    source: Mapping[str, Any]
    sizes: Mapping[str, int]
    time_limit_s: float = 900.0
    threads: int = 1
    static: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    rewrites: tuple[str, ...] = ()
    precision: str | None = None


@dataclass(frozen=True)
class Compiled:
    """What `compile` left in its folder.

    Attributes:
        files: Files to ship, relative to the folder; the first is the one a runtime opens.
        run_file: The file that the host runs to check numerics, relative to the folder (for an NPU
            the quantized model from before its vendor's compiler, which is not shipped).
        placement: Where every operator runs, and why not on the accelerator.
        tool: The compiler or converter.
        estimate: The vendor's estimate of latency, if the target is not run here.
        metrics: Cycles, SRAM, flash, ... each with its kind.
        notes: What the report should say.
        profile: The vendor's estimate per operator, if it gives one.
        joint: Whether the files are those of every part of the program.
    """

    files: tuple[str, ...]
    run_file: str
    placement: Placement
    tool: Tool
    estimate: Latency | None = None
    metrics: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()
    profile: Profile | None = None
    joint: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data for `from_json`."""
        return {
            "files": self.files,
            "run_file": self.run_file,
            "placement": self.placement.model_dump(),
            "tool": self.tool.model_dump(),
            "estimate": self.estimate.model_dump() if self.estimate else None,
            "metrics": [metric.model_dump() for metric in self.metrics],
            "notes": self.notes,
            "profile": self.profile.model_dump() if self.profile else None,
            "joint": self.joint,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Compiled:
        """The inverse of `to_json`."""
        return Compiled(
            files=tuple(data["files"]),
            run_file=data["run_file"],
            placement=Placement.model_validate(data["placement"]),
            tool=Tool.model_validate(data["tool"]),
            estimate=Latency.model_validate(data["estimate"]) if data["estimate"] else None,
            metrics=tuple(Measurement.model_validate(metric) for metric in data["metrics"]),
            notes=tuple(data["notes"]),
            profile=Profile.model_validate(data["profile"]) if data.get("profile") else None,
            joint=data.get("joint", False),
        )


class Target(ABC):
    """A device or runtime that artifacts are built for."""

    name: ClassVar[str]
    title: ClassVar[str]
    session: ClassVar[str]
    """Name in the session registry of the runtime that runs `Compiled.run_file` here."""
    runs_here: ClassVar[bool] = True
    """Whether a latency measured on this machine is this target's latency."""
    lowered_session: ClassVar[str | None] = None
    """Runtime that checks the lowered float file, where `session` takes compiled ones only."""
    estimated: ClassVar[bool] = True
    """Whether a target that is not run here comes with a vendor's estimate of its latency."""
    unverified: ClassVar[str | None] = None
    """Why what ships cannot be run here at all, where `Compiled.run_file` only stands for it."""
    float_precision: ClassVar[bool] = True
    """Whether the target has float kernels, that is, offers fp32."""
    static_shapes: ClassVar[bool] = False
    """Whether its files have fixed sizes, whatever the program leaves open; then `--buckets` are built."""
    host: ClassVar[str | None] = None
    """The target that makes files for the processor beside the accelerator, where parts can be left to it."""
    any_precision: ClassVar[bool] = False
    """Whether it builds what it offers whatever precision is asked for."""
    options_type: ClassVar[type[Options]] = Options
    """What `--target-option name=value` can tell it."""
    lowering_options: ClassVar[frozenset[str]] = frozenset()
    """Those of them that `lower` reads; the others are for `compile` alone."""
    growing_states: ClassVar[bool] = False
    """Whether it takes states that grow from call to call where others with an equal `lower_key` refuse them."""

    @property
    def family(self) -> str:
        """The part of the name before the colon: cpu, npu or mobile."""
        return self.name.partition(":")[0]

    @abstractmethod
    def requirements(self) -> Sequence[Requirement]:
        """Distributions that must be installed."""

    def missing(self) -> list[Requirement]:
        """The requirements that are not met."""
        return [requirement for requirement in self.requirements() if requirement.version is None]

    def check(self) -> None:
        """Raise unless every requirement is met.

        Raises:
            ToolchainMissingError: With the command that installs what is missing.
        """
        missing = self.missing()
        if missing:
            raise ToolchainMissingError(
                f"The toolchain of {self.name} is not installed: {', '.join(m.distribution for m in missing)}",
                where=self.name,
                todo="Run: " + " && ".join(dict.fromkeys(m.command for m in missing)),
            )

    def told(self, values: Mapping[str, Any]) -> Options:
        """The options that the user gave, checked; whatever the target itself cannot do is refused here.

        Args:
            values: By name; what is missing has its default.

        Raises:
            UnknownNameError: There is no such option, or no such choice.
            UsageError: A value of a wrong type or out of range.
            TargetError: The target cannot do that.
        """
        return self.options_type.of(values, self.name, "--target-option")

    @abstractmethod
    def lower_key(self) -> str:
        """Name of the lowering; targets with equal keys share its result (litert and ethos-u do)."""

    @abstractmethod
    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """Bring `part` into this target's file form inside `folder`, still in floating point."""

    @abstractmethod
    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """The precisions of this target, best guess first; those not worth building carry a reason.

        Args:
            lowered: The part in this target's file form, in floating point.
            rows: Rows of a typical matrix product in one call, batch times sequence: 1 for a decode step, whose
                time is that of reading the weights; None where nobody knows.
        """

    @abstractmethod
    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Write the artifact into `folder`.

        Raises:
            ToolchainFailedError: The vendor's tool crashed, hung, or wrote nothing.
        """

    def rewrites_for(self, precision: str, sizes: Mapping[str, int]) -> Device | None:
        """What rewrites (`toolchain.rewrites`) may know of the accelerator; None: it wants none (the default).

        A target that wants them applies `Context.rewrites` when it lowers, and gives reasons in its placement.

        Args:
            precision: The form that the lowered part will be quantized to.
            sizes: Size of every named dimension.
        """
        del precision, sizes
        return None

    def join(self, files: Mapping[str, Path], folder: Path) -> str | None:
        """Make one file of the compiled parts of a program, where this target's form can hold several.

        Args:
            files: What the host runs of each part.
            folder: Receives the file.

        Returns:
            Its name; None when the parts keep their own files (a default).
        """
        del files, folder
        return None


def problem_of(name: str, kind: type[Target]) -> str | None:
    """What is wrong with a class that somebody registered as a target; None: nothing that shows before it runs."""
    wrong = class_problem(kind, Target)
    if wrong:
        return wrong
    for attribute in ("name", "title", "session"):
        if not isinstance(getattr(kind, attribute, None), str):
            return f"has no {attribute}, which is a text"
    if kind.name != name:
        return f"calls itself '{kind.name}'"
    if not _NAME.fullmatch(name):
        return f"is not called family:name, with one of {', '.join(FAMILIES)} and a name of a-z, 0-9, '.' and '-'"
    return None


targets: Registry[type[Target]] = Registry("target", "edgepack.targets", "edgepack.targets", problem_of)
