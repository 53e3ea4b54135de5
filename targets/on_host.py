"""The processor beside an accelerator, as a target: what builds the parts of a model that stay there.

Such a part bears the accelerator's name in the bundle, for it ships with the accelerator's files; it is built by the
target that makes files for the host's runtime, in floating point, and nothing of it counts as placed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.toolchain.results import Placement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgepack.toolchain.program import Lowered, Part, Program

NOTE = "Stays on the host, which runs it before the accelerator's part"


class OnHost(Target):
    """A host beside an accelerator; `on_host` makes the class of one.

    The subclass has the accelerator's name, and the session of the target that serves the host.
    """

    static_shapes = True
    runs_here = False  # the host is the device's, not this machine
    estimated = False
    any_precision = True
    serving: type[Target]

    def requirements(self) -> Sequence[Requirement]:
        """What the host's files need."""
        return self.serving().requirements()

    def lower_key(self) -> str:
        """The serving target's, whose results are shared where it fixes sizes itself."""
        key = self.serving().lower_key()
        return key if self.serving.static_shapes else f"{key} of fixed sizes"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """As the serving target does, in the sizes of what the accelerator takes from it; errors too."""
        return self.serving().lower(program, part, replace(context, static=True), folder)

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """Floating point alone."""
        del lowered, rows
        return (Offer("fp32"),)

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """As the serving target does; every operator is the host's. Errors are that target's."""
        made = self.serving().compile(lowered, context, folder)
        count = made.placement.accelerator + made.placement.cpu
        return replace(made, placement=Placement(accelerator=0, cpu=count), notes=(*made.notes, NOTE))


def on_host(target: Target) -> Target | None:
    """What builds the host's parts for an accelerator; None for one that has no host."""
    if target.host is None:
        return None
    serving = targets.get(target.host)
    body = {
        "name": target.name,
        "title": f"the host of {target.title}",
        "session": serving.session,
        "lowered_session": serving.lowered_session,
        "serving": serving,
        "__doc__": f"The host of {target.name}.",
        "__module__": __name__,
    }
    made: Target = type("OnHostOf" + type(target).__name__, (OnHost,), body)()
    return made
