"""`onnx-mixed`: every layer in the form that was chosen for it, such as by `edgepack search`.

The choice is an assignment from the names of the float graph's nodes to forms (`_onnx_mixed_groups`); what is not in
it stays float32. The forms are those of the other quantizers for ONNX: dynamic int8 (`onnx_dynamic`), static int8
in QDQ form (`onnx_static`), weights of 8 or 4 bits in blocks (`onnx_weights`).

Outlier channels are leveled wherever activations are quantized, and 4-bit weights are rounded by GPTQ, when there are
real samples to go by. What samples tell is found once for any number of assignments: a search builds hundreds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.quantize._onnx_edit import drop_unused_constants
from edgepack.quantize._onnx_found import refuse_quantized
from edgepack.quantize._onnx_layers import Linear, linears, lookups
from edgepack.quantize._onnx_mixed_convolutions import static_convolutions
from edgepack.quantize._onnx_mixed_facts import Facts
from edgepack.quantize._onnx_mixed_groups import (
    BITS,
    BLOCK,
    FORMS,
    Form,
    Group,
    check_assignment,
    groups,
    named,
)
from edgepack.quantize._onnx_mixed_static import static_group
from edgepack.quantize._onnx_nbits import DOMAIN, Rewriter, Rule
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.onnx_dynamic import _quantize_group, _quantize_lookups
from edgepack.quantize.options import Options, fixed
from edgepack.toolchain.errors import TargetError

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.program import Lowered

_GPTQ_BITS = 4


class MixedOptions(Options):
    """What the mixed quantizer must be told."""

    assign: dict[str, str] = fixed({}, "form of every node that is not to stay in fp32, by its name")


@quantizers.register("onnx-mixed")
class OnnxMixed(Quantizer):
    """A form for every matrix product, convolution and embedding lookup of its own."""

    format = "onnx"
    # With data whenever there is any, since a static form may be among those chosen.
    static = True
    options_type = MixedOptions

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `<part>.onnx` and its data file into `folder`.

        Args:
            lowered: The float model.
            precision: What the report calls it, "mixed".
            data: Samples that fix ranges and level outliers; None when there are none.
            folder: Where to write.
            options: `assign`: form by node name, see `FORMS`; without one the part stays in fp32.

        Raises:
            UnknownNameError: There is no such node or form.
            UsageError: A node cannot take its form, or calibration data is missing.
            TargetError: The model is quantized already, or every node stays float.
        """
        assign = MixedOptions.of(options, "onnx-mixed", f"part {lowered.part}").assign
        if not assign:
            return _as_it_is(lowered, folder, precision)
        return Mixer(lowered, data).build(assign, folder, precision)


class Mixer:
    """Builds any number of assignments of one float model.

    Args:
        lowered: The float model.
        data: Samples; None when there are none.

    Raises:
        TargetError: The model is quantized already, or has nothing to choose for.
    """

    def __init__(self, lowered: Lowered, data: CalibrationData | None) -> None:
        import onnx_ir as ir

        self.lowered = lowered
        self.facts = Facts(lowered, data)
        model = ir.load(lowered.path)
        refuse_quantized(model, lowered.part)
        self.groups: list[Group] = groups(model.graph)
        if not self.groups:
            raise TargetError(
                "There is no matrix product, convolution or embedding with constant float32 weights to choose for",
                where=f"part {lowered.part}",
                todo="Use --precision fp32 for this target",
            )

    def build(self, assign: Mapping[str, str], folder: Path, precision: str = "mixed") -> Lowered:
        """Write the model with this assignment into `folder`; the errors are those of `OnnxMixed.quantize`."""
        import onnx_ir as ir

        from edgepack.toolchain.passes.storage import save

        lowered = self.lowered
        chosen = check_assignment(assign, self.groups, f"part {lowered.part}")
        if not chosen:
            raise TargetError(
                "The assignment leaves every node in fp32",
                where=f"part {lowered.part}",
                todo="Use --precision fp32, or assign a form to some node",
            )
        model = ir.load(lowered.path)
        named(model.graph)
        self._static(model.graph, chosen)
        kinds = {name: group.kind for group in self.groups for name in group.nodes}
        static = {n for n, form in chosen.items() if form == "int8-static" and kinds[n] == "convolution"}
        if static:
            model = static_convolutions(model, lowered.path.resolve().parent, static, self.facts)
        graph = model.graph
        self._dynamic(graph, chosen)
        for form, bits in BITS.items():
            self._blocks(graph, chosen, form, bits)
        drop_unused_constants(graph)
        if any(form in BITS for form in chosen.values()):
            graph.opset_imports.setdefault(DOMAIN, 1)
        path = save(model, folder, lowered.part)
        return lowered.quantized(path, precision, len(chosen), self._note(chosen))

    def _static(self, graph: ir.Graph, chosen: Mapping[str, Form]) -> None:
        for value, group in linears(graph).items():
            own = [linear for linear in group if _form(linear.node, chosen) == "int8-static"]
            if own:
                static_group(graph, value, own, self.facts)

    def _dynamic(self, graph: ir.Graph, chosen: Mapping[str, Form]) -> None:
        for value, group in linears(graph).items():
            own = [linear for linear in group if _form(linear.node, chosen) == "int8-dynamic"]
            if own:
                _quantize_group(graph, value, own, self.facts.factors.get(str(value.name)))
        _quantize_lookups(graph, [one for one in lookups(graph) if _form(one.node, chosen) == "int8-dynamic"])

    def _blocks(self, graph: ir.Graph, chosen: Mapping[str, Form], form: str, bits: int) -> None:
        rewriter = Rewriter(graph, Rule(bits, BLOCK))
        products: list[Linear] = [linear for group in linears(graph).values() for linear in group]
        for linear in products:
            if _form(linear.node, chosen) == form:
                rewriter.product(linear, self.facts.blocks(linear, bits) if bits == _GPTQ_BITS else None)
        for lookup in [one for one in lookups(graph) if _form(one.node, chosen) == form]:
            rewriter.lookup(lookup)

    def _note(self, chosen: Mapping[str, Form]) -> str:
        """How many nodes of each kind took which form."""
        kinds = {name: group.kind for group in self.groups for name in group.nodes}
        counts = Counter((form, kinds[name]) for name, form in chosen.items())
        total = Counter(kinds.values())
        for (_, kind), count in list(counts.items()):
            total[kind] -= count
        left: dict[tuple[Form, str], int] = {("fp32", kind): count for kind, count in total.items() if count}
        rows = sorted(
            (counts | Counter(left)).items(),
            key=lambda entry: (FORMS.index(entry[0][0]), entry[0][1]),
        )
        return "mixed: " + ", ".join(f"{n} {kind}{'s' * (n > 1)} {form}" for (form, kind), n in rows)


def _as_it_is(lowered: Lowered, folder: Path, precision: str) -> Lowered:
    """A part of a program that stays in floating point beside parts that do not."""
    import onnx_ir as ir

    from edgepack.toolchain.passes.storage import save

    path = save(ir.load(lowered.path), folder, lowered.part)
    return lowered.quantized(path, precision, 0, "mixed: this part has no assignment and stays in fp32")


def _form(node: ir.Node, chosen: Mapping[str, Form]) -> str | None:
    return chosen.get(str(node.name))


__all__ = ["FORMS", "Form", "Group", "Mixer", "OnnxMixed"]
