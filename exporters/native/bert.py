"""BERT (Devlin et al. 2018, arXiv:1810.04805), and MiniLM, which is BERT of another width.

    x0 = LayerNorm(word[ids] + position[0..s) + type[types])
    attention: softmax(Q K^T / sqrt(d) + mask) V, heads side by side
    x' = LayerNorm(x + W_o attention(x));  x = LayerNorm(x' + W_2 gelu(W_1 x'))

The additive mask is 0 and -30, as in the torch route (see `sources._transformers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.exporters.native.base import Builder, Declined, Weights, natives
from edgepack.exporters.sources import sentence
from edgepack.exporters.sources.safetensors_files import weight_files

if TYPE_CHECKING:
    import onnx_ir as ir

_MASKED = -30.0
_KNOWN: dict[str, set[Any]] = {
    "hidden_act": {"gelu"},
    "position_embedding_type": {"absolute", None},
    "is_decoder": {False, None},
    "add_cross_attention": {False, None},
}
_TASKS = ("feature-extraction", "sentence-similarity")


@natives.register("bert")
def build(folder: Path, config: Mapping[str, Any], task: str) -> ir.Model:
    """The encoder's graph: input_ids, attention_mask, token_type_ids [batch, sequence], all int64.

    Raises:
        Declined: A task, a setting or a weight that this graph does not cover.
    """
    if task not in _TASKS:
        raise Declined(f"the task {task} has a head that is not written here")
    for key, values in _KNOWN.items():
        if config.get(key) not in values:
            raise Declined(f"{key} is {config.get(key)!r}")
    if int(config.get("type_vocab_size", 2)) < 2:  # noqa: PLR2004 - then the model has no type input
        raise Declined("type_vocab_size is below 2")
    return _Bert(folder, config).model(sentence.read(folder) if task == "sentence-similarity" else None)


class _Bert:
    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.b = Builder(Weights(weight_files(folder, trust_pickle=False), "bert."))
        self.layers = int(config["num_hidden_layers"])
        self.heads = int(config["num_attention_heads"])
        self.width = int(config["hidden_size"])
        self.eps = float(config.get("layer_norm_eps", 1e-12))

    def model(self, pooling: sentence.Pooling | None) -> ir.Model:
        import numpy as np

        b = self.b
        ids, mask, types = (
            b.input(n, ("batch", "sequence")) for n in ("input_ids", "attention_mask", "token_type_ids")
        )
        x = self._embeddings(ids, types)
        keep = b.op("Cast", [mask], "mask_float", to=1)
        rows = b.op("Unsqueeze", [keep, b.constant("axes_heads", np.array([1, 2]))], "mask_rows")
        gap = b.op("Sub", [b.constant("one", np.float32(1.0)), rows], "mask_gap")
        bias = b.op("Mul", [gap, b.constant("masked", np.float32(_MASKED))], "mask_bias")
        for index in range(self.layers):
            x = self._layer(f"encoder.layer.{index}", x, bias)
        if pooling is None:
            return b.model(
                [ids, mask, types], [self._output(x, "last_hidden_state", ("batch", "sequence", self.width))]
            )
        pooled = self._pool(pooling, x, keep)
        return b.model(
            [ids, mask, types], [self._output(pooled, "sentence_embedding", ("batch", self.width))]
        )

    def _output(self, value: ir.Value, name: str, shape: tuple[int | str, ...]) -> ir.Value:
        import onnx_ir as ir

        value.name = name
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape(shape)
        return value

    def _embeddings(self, ids: ir.Value, types: ir.Value) -> ir.Value:
        import numpy as np

        b = self.b
        words = b.op("Gather", [b.weight("embeddings.word_embeddings.weight"), ids], "embeddings.words")
        kinds = b.op(
            "Gather", [b.weight("embeddings.token_type_embeddings.weight"), types], "embeddings.types"
        )
        length = b.op("Shape", [ids], "sequence_length", start=1, end=2)
        positions = b.op(
            "Slice",
            [b.weight("embeddings.position_embeddings.weight"), b.constant("start", np.array([0])), length,
             b.constant("axis_rows", np.array([0]))],
            "embeddings.positions",
        )  # fmt: skip
        both = b.op("Add", [words, kinds], "embeddings.words_types")
        return self._norm(b.op("Add", [both, positions], "embeddings.sum"), "embeddings.LayerNorm")

    def _layer(self, at: str, x: ir.Value, bias: ir.Value) -> ir.Value:
        b = self.b
        attended = self._attention(f"{at}.attention.self", x, bias)
        projected = self._linear(attended, f"{at}.attention.output.dense")
        x = self._norm(
            b.op("Add", [projected, x], f"{at}.attention.residual"), f"{at}.attention.output.LayerNorm"
        )
        wide = b.op("Gelu", [self._linear(x, f"{at}.intermediate.dense")], f"{at}.intermediate.gelu")
        narrow = self._linear(wide, f"{at}.output.dense")
        return self._norm(b.op("Add", [narrow, x], f"{at}.residual"), f"{at}.output.LayerNorm")

    def _attention(self, at: str, x: ir.Value, bias: ir.Value) -> ir.Value:
        import numpy as np

        b = self.b
        size = self.width // self.heads
        split = b.constant("split_heads", np.array([0, 0, self.heads, size]))
        query, key, value = (
            b.op("Reshape", [self._linear(x, f"{at}.{part}"), split], f"{at}.{part}.heads")
            for part in ("query", "key", "value")
        )
        query = b.op("Transpose", [query], f"{at}.query.rows", perm=[0, 2, 1, 3])
        key = b.op("Transpose", [key], f"{at}.key.columns", perm=[0, 2, 3, 1])
        value = b.op("Transpose", [value], f"{at}.value.rows", perm=[0, 2, 1, 3])
        scores = b.op("MatMul", [query, key], f"{at}.scores")
        scaled = b.op("Mul", [scores, b.constant("scale", np.float32(size**-0.5))], f"{at}.scaled")
        weights = b.op("Softmax", [b.op("Add", [scaled, bias], f"{at}.masked")], f"{at}.weights", axis=-1)
        mixed = b.op(
            "Transpose",
            [b.op("MatMul", [weights, value], f"{at}.mixed")],
            f"{at}.mixed_rows",
            perm=[0, 2, 1, 3],
        )
        return b.op(
            "Reshape", [mixed, b.constant("join_heads", np.array([0, 0, self.width]))], f"{at}.joined"
        )

    def _pool(self, pooling: sentence.Pooling, x: ir.Value, keep: ir.Value) -> ir.Value:
        import numpy as np

        b = self.b
        rows = b.constant("axis_sequence", np.array([1]))
        weights = b.op("Unsqueeze", [keep, b.constant("axis_last", np.array([2]))], "pool.weights")
        if pooling.mode == "cls":
            pooled = b.op("Gather", [x, b.constant("first", np.array(0))], "pool.cls", axis=1)
        elif pooling.mode == "max":
            gap = b.op("Mul", [b.op("Sub", [b.constant("one", np.float32(1.0)), weights], "pool.gap"),
                               b.constant("lowest", np.float32(-1e9))], "pool.low")  # fmt: skip
            kept = b.op("Add", [b.op("Mul", [x, weights], "pool.kept"), gap], "pool.filled")
            pooled = b.op("ReduceMax", [kept, rows], "pool.max", keepdims=0)
        else:
            total = b.op("ReduceSum", [b.op("Mul", [x, weights], "pool.kept"), rows], "pool.sum", keepdims=0)
            count = b.op("ReduceSum", [weights, rows], "pool.count", keepdims=0)
            count = b.op("Max", [count, b.constant("tiny", np.float32(1e-9))], "pool.at_least")
            if pooling.mode == "mean_sqrt_len":
                count = b.op("Sqrt", [count], "pool.sqrt")
            pooled = b.op("Div", [total, count], "pool.mean")
        if not pooling.normalize:
            return pooled
        norm = b.op("ReduceL2", [pooled, rows], "pool.norm", keepdims=1)
        floor = b.op("Max", [norm, b.constant("floor", np.float32(1e-12))], "pool.norm_at_least")
        return b.op("Div", [pooled, floor], "pool.normalized")

    def _linear(self, x: ir.Value, at: str) -> ir.Value:
        product = self.b.op("MatMul", [x, self.b.weight(f"{at}.weight", transpose=True)], f"{at}.matmul")
        return self.b.op("Add", [product, self.b.weight(f"{at}.bias")], at)

    def _norm(self, x: ir.Value, at: str) -> ir.Value:
        scale, shift = self.b.weight(f"{at}.weight"), self.b.weight(f"{at}.bias")
        return self.b.op("LayerNormalization", [x, scale, shift], at, axis=-1, epsilon=self.eps)
