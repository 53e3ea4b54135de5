"""Networks whose weights and activations have one bit: trained here, run by the operators in `runtime/kernels`.

    y_n = alpha_n * sum_k sign(x_k + shift_k) * b_nk + bias_n,    b_nk = +1 or -1,    sign(0) = +1

    model, report = convert(network, method="reactnet")   # which layers became binary, and why the others did not
    for images, labels in batches: ...                    # the training loop of your own; after_step(model) ends it
    frozen = freeze(model)                                # packed bits, alpha, bias, shift
    torch.onnx.export(frozen, ..., dynamo=True)           # one node edgepack::BinLinear or edgepack::BinConv a layer

Transformers: `convert(model, "bibert")` with `Distillation`, and `convert_attention(model, "ecoformer", samples=...)`.

Names load on first use, and the modules begin with `_`: they need torch, which a search for quantizers must not load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepack.quantize.binary._attention import attentions, convert_attention
    from edgepack.quantize.binary._convert import convert
    from edgepack.quantize.binary._distillation import Distillation
    from edgepack.quantize.binary._freeze import freeze
    from edgepack.quantize.binary._method import Method, methods
    from edgepack.quantize.binary._packed import PackedLayer
    from edgepack.quantize.binary._report import Decision, Report
    from edgepack.quantize.binary._training import after_step, progress
    from edgepack.quantize.binary.operators import translations

_HOMES = {
    "Decision": "_report",
    "Distillation": "_distillation",
    "Method": "_method",
    "PackedLayer": "_packed",
    "Report": "_report",
    "after_step": "_training",
    "attentions": "_attention",
    "convert": "_convert",
    "convert_attention": "_attention",
    "freeze": "_freeze",
    "methods": "_method",
    "progress": "_training",
    "translations": "operators",
}

__all__ = [
    "Decision",
    "Distillation",
    "Method",
    "PackedLayer",
    "Report",
    "after_step",
    "attentions",
    "convert",
    "convert_attention",
    "freeze",
    "methods",
    "progress",
    "translations",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'edgepack.quantize.binary' has no attribute '{name}'"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"edgepack.quantize.binary.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
