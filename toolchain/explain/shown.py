"""An explanation for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgepack.toolchain.explain.results import Explained, Explanation, Problem

if TYPE_CHECKING:
    from rich.console import Group

_NAMED = 4


def terminal(found: Explanation) -> Group:
    """Every form with its problems, the dearest first."""
    from rich.console import Group
    from rich.text import Text

    lines = [line for form in found.forms for line in (*_form(form, found.target), "")]
    if found.hosted:
        lines += ["With --host lookups, of what the accelerator is left:", ""]
        lines += [line for form in found.hosted for line in (*_form(form, found.target), "")]
    return Group(*map(Text, lines))


def _form(form: Explained, target: str) -> Iterator[str]:
    name = form.precision if form.part == "main" else f"{form.part}, {form.precision}"
    if form.error is not None:
        yield f"{name}: could not be built. {form.error}"
        return
    total = form.accelerator + form.cpu
    yield f"{name}: {form.accelerator} of {total} operators run on {form.device or target}, {form.cpu} do not"
    if form.estimate_ms is not None:
        yield f"  The vendor's estimate, {form.estimate_ms:.3g} ms, leaves those out"
    for line in form.rewrites:
        yield f"  {line}"
    for problem in form.problems:
        yield ""
        yield from _problem(problem)


def _problem(problem: Problem) -> Iterator[str]:
    names = ", ".join(problem.nodes[:_NAMED])
    more = f" and {len(problem.nodes) - _NAMED} more" if len(problem.nodes) > _NAMED else ""
    yield f"  {len(problem.nodes)} x {problem.op}: {names}{more}"
    yield f"    why    {problem.reason}"
    yield f"    cure   {problem.cure}"
    costs = [f"{problem.operators_share:.1%} of the operators"]
    if problem.macs_share is not None:
        costs.append(f"{problem.macs_share:.1%} of the multiplications")
    if problem.bytes_share is not None:
        costs.append(f"{problem.bytes_share:.1%} of the bytes moved")
    yield f"    costs  {', '.join(costs)}"
    if problem.smallest is not None:
        yield f"    shown  by {problem.smallest}, of {problem.smallest_nodes} operators"
    elif problem.not_cut is not None:
        yield f"    shown  by no smaller model: {problem.not_cut}"
