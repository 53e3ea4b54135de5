"""Label and value pairs about the run: the source, the machine, the tools."""

from __future__ import annotations

from edgepack.toolchain.report import text
from edgepack.toolchain.report.cells import Cell, Table, missing, name, table
from edgepack.toolchain.report.tables import head
from edgepack.toolchain.results import Environment, Manifest, SourceFacts


def source(facts: SourceFacts) -> list[tuple[str, Cell]]:
    """Which model went in."""
    weights = facts.weight_bytes
    return [
        ("Model", name(facts.location)),
        ("Kind", Cell(facts.kind)),
        ("Task", Cell(facts.task) if facts.task else missing("not stated")),
        ("Architecture", Cell(facts.architecture) if facts.architecture else missing("not known")),
        (
            "Parameters",
            Cell(f"{facts.parameters:,}") if facts.parameters is not None else missing("not counted"),
        ),
        ("Weights", Cell(text.size(weights)) if weights is not None else missing("not counted")),
        ("Fingerprint", name(facts.fingerprint)),
    ]


def environment(facts: Environment) -> list[tuple[str, Cell]]:
    """The machine and settings that every measurement here belongs to."""
    load, heat = facts.load_average, facts.temperature_c
    return [
        ("CPU", Cell(facts.cpu_model)),
        (
            "CPU features",
            Cell(", ".join(facts.cpu_features)) if facts.cpu_features else missing("none reported"),
        ),
        ("Cores", Cell(f"{facts.cores}")),
        ("Threads used", Cell(f"{facts.threads}")),
        ("Idle threads spin", Cell("yes" if facts.spinning else "no")),
        ("Frequency governor", Cell(facts.governor) if facts.governor else missing("not exposed here")),
        ("Load average", Cell(f"{load:.2f}") if load is not None else missing("not available")),
        ("Temperature", Cell(f"{heat:.0f} °C") if heat is not None else missing("no sensor exposed")),
        ("Memory", Cell(text.size(facts.memory_bytes))),
        ("Operating system", Cell(facts.os)),
        ("Python", Cell(facts.python)),
    ]


def packages(facts: Environment) -> Table:
    """Versions of the packages that took part."""
    rows = [(name(package), Cell(version)) for package, version in sorted(facts.packages.items())]
    return table("packages", "Package versions", ("Package", "Version"), rows)


def tools(manifest: Manifest) -> Table:
    """Which compiler or converter made each artifact."""
    return table(
        "tools",
        "Made by",
        ("Target", "Precision", "Tool", "#Nodes changed by the quantizer", "Notes"),
        [
            (
                *head(a),
                Cell(f"{a.tool.name} {a.tool.version}"),
                Cell(f"{a.changed_nodes:,}", sort=a.changed_nodes)
                if a.changed_nodes is not None
                else missing("not quantized" if a.precision.startswith("fp") else "not counted"),
                Cell(" ".join(a.notes)),
            )
            for a in [*manifest.artifacts, *manifest.rejected]
        ],
    )
