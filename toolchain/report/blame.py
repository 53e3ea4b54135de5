"""blame.html: the noise of every layer of a quantized artifact, and what keeping the worst float gives."""

from __future__ import annotations

import html as markup
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.report import cells, text
from edgepack.toolchain.report.bars import Figure
from edgepack.toolchain.report.cells import Cell, Table, table
from edgepack.toolchain.report.document import TEMPLATES, rendered

if TYPE_CHECKING:
    from edgepack.toolchain.blame.results import Blame, LayerNoise

_CEILING_DB = 80.0
"""Points above are drawn here: so little noise is none, and the axis is for what has some."""
_HEIGHT = 380


def html(blame: Blame) -> bytes:
    """The page in UTF-8; `blame` must have gone through `text.cleaned`."""
    drawn = [noise(blame), *([kept(blame)] if blame.steps else [])]
    view = {
        "blame": blame,
        "figures": drawn,
        "layers": layers(blame),
        "steps": steps(blame),
        "sentences": sentences(blame),
        "applied": applied(blame),
    }
    return rendered(TEMPLATES / "blame.html", view, drawn)


def sentences(blame: Blame) -> list[str]:
    """What was found, in words."""
    found = []
    worst = blame.worst(1)
    if worst:
        found.append(
            f"{worst[0].node} ({worst[0].op}) adds most noise: {decibels(worst[0].added_db)} by itself, "
            f"{decibels(worst[0].accumulated_db)} with all before it"
        )
    else:
        found.append("No layer adds noise beyond float32's own rounding")
    if blame.offered is not None and blame.confirmed is not None:
        layers_ = text.plural(blame.offered, "layer")
        found.append(
            f"With {layers_} kept float the artifact passes: mean cosine {text.cosine(blame.confirmed.cosine)} "
            f"instead of {text.cosine(blame.parity.cosine)}, on {blame.confirmed.inputs_tried} held-out inputs"
        )
    elif blame.start.passed:
        found.append("The artifact passes its gate as it is; the steps show what keeping layers would add")
    elif blame.order:
        found.append(f"No number of kept layers was found with which it passes; {len(blame.order)} add noise")
    return [*found, *blame.notes]


def decibels(value: float | None) -> str:
    """A ratio, or a dash where there is no noise."""
    return text.DASH if value is None else f"{value:.1f} dB"


def noise(blame: Blame) -> Figure:
    """Both ratios of every layer in graph order."""
    caption = (
        f"Signal to noise of every layer over {blame.inputs} held-out inputs, in graph order; lower is worse. "
        f"What a layer adds is measured by {blame.added_by}."
    )
    own = [layer for layer in blame.layers if layer.added_db is not None]
    whole = [layer for layer in blame.layers if layer.accumulated_db is not None]
    data = [
        {
            **_points(whole, [layer.accumulated_db for layer in whole], "with all before it"),
            "mode": "lines",
            "line": {"color": "--ship", "width": 2},
            "marker": {"color": "--ship"},
        },
        {
            **_points(own, [layer.added_db for layer in own], "by itself"),
            "mode": "markers",
            "marker": {"color": "--rejected", "size": 7, "symbol": "diamond"},
        },
    ]
    described = "Signal to noise: " + "; ".join(
        f"{layer.node} {decibels(layer.added_db)}" for layer in blame.worst(len(blame.order))[:5]
    )
    spec = {"data": data, "layout": _layout("layer, in graph order", "signal to noise, dB")}
    legend = (("ship", "with all before it"), ("rejected", "added by the layer itself"))
    return Figure("noise", "Noise of every layer", caption, described, spec, legend=legend)


def kept(blame: Blame) -> Figure:
    """The outputs' cosine over the number of layers kept."""
    found = [(0, blame.start), *((step.kept, step.parity) for step in blame.steps)]
    points = [(count, parity.cosine) for count, parity in found if parity.cosine is not None]
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [count for count, _ in points],
        "y": [cosine for _, cosine in points],
        "hovertext": [
            f"{text.plural(count, 'layer')} kept: {text.cosine(cosine)}" for count, cosine in points
        ],
        "hoverinfo": "text",
        "line": {"color": "--ship", "width": 2},
        "marker": {"color": "--ship", "size": 8},
    }
    data = [trace]
    limit = blame.start.gate.get("cosine")
    if limit is not None and points:
        data.append(
            {
                "type": "scatter", "mode": "lines", "x": [0, points[-1][0]], "y": [limit, limit],
                "hoverinfo": "skip", "line": {"color": "--rejected", "width": 2, "dash": "dash"},
            }
        )  # fmt: skip
    caption = f"Mean cosine of the outputs with the noisiest layers kept float, on {blame.start.inputs_tried} inputs."
    legend = (("ship", "measured"), *((("rejected", f"gate {limit:g}"),) if limit is not None else ()))
    described = "Mean cosine: " + "; ".join(f"{count} kept {text.cosine(cosine)}" for count, cosine in points)
    spec = {"data": data, "layout": _layout("layers kept float", "mean cosine")}
    return Figure("kept", "Layers kept float", caption, described, spec, legend=legend)


def layers(blame: Blame) -> Table:
    """Every layer, the noisiest first."""
    rank = {node: place for place, node in enumerate(blame.order)}
    ordered = sorted(blame.layers, key=lambda layer: (rank.get(layer.node, len(rank)), layer.index))
    return table(
        "layers",
        "Layers by the noise that they add",
        ("Layer", "Operator", "#Place", "#Added", "#Accumulated", "#Cosine when kept"),
        [
            (
                cells.name(layer.node),
                cells.name(layer.op),
                cells.count(layer.index),
                cells.number(
                    layer.added_db, decibels(layer.added_db), "" if layer.node in rank else "adds none"
                ),
                cells.number(layer.accumulated_db, decibels(layer.accumulated_db)),
                cells.number(layer.cosine_alone, text.cosine(layer.cosine_alone)),
            )
            for layer in ordered
        ],
    )


def steps(blame: Blame) -> Table:
    """What keeping the first layers of the order gives."""
    found = [(0, blame.start, ""), *((step.kept, step.parity, "") for step in blame.steps)]
    if blame.offered is not None and blame.confirmed is not None:
        found.append((blame.offered, blame.confirmed, "built by the quantizer"))
    return table(
        "steps",
        "Layers kept float, and what the outputs are then",
        ("#Layers kept", "#Mean cosine", "#Lowest cosine", "#Inputs", "Gate"),
        [
            (
                cells.count(count, note),
                cells.number(parity.cosine, text.cosine(parity.cosine)),
                cells.number(parity.min_cosine, text.cosine(parity.min_cosine)),
                cells.count(parity.inputs_tried),
                cells.verdict(parity),
            )
            for count, parity, note in found
        ],
    )


def applied(blame: Blame) -> Table:
    """The artifact before and after, if the fix was applied."""
    done = blame.applied
    rows = [] if done is None else [("before", done.before), (f"{done.kept} kept", done.after)]
    return table(
        "applied",
        f"Applied: {done.bundle}" if done else "Applied",
        ("Artifact", "Parity", "#p50 latency", "#Size", "#Nodes changed"),
        [
            (
                Cell(name),
                cells.parity(one.parity),
                cells.latency(one.latency),
                cells.size(one.size_bytes),
                cells.count(one.changed_nodes),
            )
            for name, one in rows
            if one is not None
        ],
    )


def _points(found: list[LayerNoise], values: list[float | None], kind: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [layer.index for layer in found],
        "y": [min(value, _CEILING_DB) if value is not None else None for value in values],
        "hovertext": [
            markup.escape(f"{layer.node} ({layer.op}), {kind}: {decibels(value)}")
            for layer, value in zip(found, values, strict=True)
        ],
        "hoverinfo": "text",
    }


def _layout(x: str, y: str) -> dict[str, Any]:
    def axis(title: str) -> dict[str, Any]:
        return {
            "title": {"text": title, "standoff": 6},
            "fixedrange": True,
            "zeroline": False,
            "automargin": True,
        }

    return {
        "height": _HEIGHT,
        "margin": {"l": 56, "r": 14, "t": 8, "b": 50, "pad": 0},
        "dragmode": False,
        "showlegend": False,
        "xaxis": axis(x),
        "yaxis": axis(y),
    }
