"""Why ONNX operators have no translation to TFLite: one table, for refusals and for the documentation."""

from __future__ import annotations

GROUPS: dict[str, tuple[str, ...]] = {
    "a sequence, an optional value or a string: TFLite has tensors of numbers": (
        "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "RegexFullMatch",
        "ReverseSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
        "SequenceLength", "SequenceMap", "SplitToSequence", "StringConcat", "StringNormalizer", "StringSplit",
        "TfIdfVectorizer", "ImageDecoder",
    ),
    "it draws random numbers": (
        "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    ),
    "the size of its result depends on the data": ("Compress", "NonMaxSuppression", "NonZero", "Unique"),
    "it holds graphs of its own": ("If", "Loop", "Scan"),
    "TFLite has no such function": (
        "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
        "BitwiseXor", "Cosh", "Det", "Erf", "Sinh", "Tan",
    ),
    "it is of integer arithmetic that TFLite writes as quantized tensors: use QuantizeLinear and DequantizeLinear": (
        "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
    ),
}  # fmt: skip
OTHERWISE = "it is not translated yet"


def reason(domain: str, name: str) -> str:
    """Why an operator is not served, in words."""
    if domain not in {"", "ai.onnx"}:
        return f"it is of the domain {domain}, not of ONNX's own"
    return next((words for words, names in GROUPS.items() if name in names), OTHERWISE)
