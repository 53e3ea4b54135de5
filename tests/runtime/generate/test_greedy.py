"""Greedy decoding over exported parts: the same tokens as torch, with states that stay in the runtime."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
import torch

from edgepack.exporters._worker import export_model
from edgepack.exporters.architectures import return_of_the_encoder as row04
from edgepack.runtime.generate.greedy import greedy
from edgepack.runtime.generate.language_model import LanguageModel
from edgepack.runtime.sessions._onnxruntime_states import in_place
from edgepack.toolchain.errors import SourceError, UsageError
from edgepack.toolchain.program import Part, Program, Signature, StateLink, TensorSpec
from tests.exporters import models

NEW = 33
# Seeds and sizes with which the tokens vary: a model that repeats one token would hide mistakes.
CONFIGS = {
    "encoder-decoder": replace(row04.CONFIGS["encoder-decoder-tiny"], decoder_layers=2, seed=1),
    "decoder-only": row04.CONFIGS["decoder-only-tiny"],
}
PROMPTS = [np.random.default_rng(seed).integers(0, 61, 3 + 4 * seed) for seed in range(3)]


@pytest.fixture(scope="module", params=[*CONFIGS, "prefill-decode"])
def exported(request, tmp_path_factory):
    """(program, torch's greedy) of three forms: encoder and decoder, one graph, prefill and decode."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "prefill-decode":
        model = models.decoder()
        net: Any = model.parts["decode"].module
    else:
        model = row04.build(CONFIGS[request.param])
        net = model.parts["decoder"].module.net
    export_model(model, folder)

    def logits(ids, memory):
        return net(ids)[0] if request.param == "prefill-decode" else net.whole(ids, memory)

    def reference(prompt, count):
        with torch.no_grad():
            source = torch.from_numpy(prompt)[None]
            memory = net.encode(source) if request.param == "encoder-decoder" else ()
            ids = torch.zeros((1, 1), dtype=torch.int64) if memory else source
            begin = ids.shape[1]
            for _ in range(count):
                ids = torch.cat([ids, logits(ids, memory)[:, -1:].argmax(-1)], 1)
        return ids[0, begin:].tolist()

    return Program.load(folder), reference


@pytest.mark.slow
def test_the_tokens_are_those_of_torch(exported):
    program, reference = exported
    with LanguageModel(program) as model:
        got = [greedy(model, prompt, NEW) for prompt in PROMPTS]
        assert got == [reference(prompt, NEW) for prompt in PROMPTS]
        if "prefill" not in program.parts:
            assert len({tuple(tokens) for tokens in got}) == len(PROMPTS)
            assert max(len(set(tokens)) for tokens in got) >= 4
        # Nothing is left of one sequence in the next.
        assert greedy(model, PROMPTS[0], NEW) == got[0]
    with LanguageModel(program, share=False) as model:
        assert [greedy(model, prompt, NEW) for prompt in PROMPTS] == got


@pytest.mark.slow
def test_caches_of_fixed_capacity_are_updated_in_place(exported):
    program, _ = exported
    last = program.parts.get("decoder")
    if last is None:
        part = program.parts["decode"]
        own = {k.input: k.output for k in program.links if k.from_part == k.to_part}
        # A cache that grows by concatenation has no buffer to share.
        assert own
        assert in_place(part.path, own) == {}
        return
    own = {k.input: k.output for k in program.links if k.from_part == k.to_part == "decoder"}
    assert in_place(last.path, own) == own
    with LanguageModel(program) as model:
        model.begin(PROMPTS[1][None], 4)
        states = model._player._now
        before = {name: states["decoder", name] for name in own}
        model.step(np.array([[7]]))
        for name, value in before.items():
            assert states["decoder", name] is value


@pytest.mark.slow
def test_it_stops(exported):
    program, reference = exported
    tokens = reference(PROMPTS[2], NEW)
    last = tokens[5]
    seen: list[int] = []
    with LanguageModel(program) as model:
        got = greedy(model, PROMPTS[2], NEW, stop={last}, on_token=seen.append)
    assert got == seen == tokens[: tokens.index(last) + 1]


@pytest.mark.slow
def test_what_is_wrong_with_a_prompt_is_said(exported):
    program, _ = exported
    with LanguageModel(program, positions=40) as model:
        with pytest.raises(UsageError, match="The prompt is empty"):
            greedy(model, np.array([], np.int64), 4)
        with pytest.raises(UsageError, match=r"must be int64 tokens, and int32 was given.*astype"):
            greedy(model, np.array([1, 2], np.int32), 4)
        with pytest.raises(UsageError, match="from 3 to 61, and the vocabulary has 61"):
            greedy(model, np.array([3, 61]), 4)
        with pytest.raises(UsageError, match=r"need 4[14] positions, and the model has 40"):
            greedy(model, np.zeros(41 if model.encodes else 40, np.int64), 4)
        with pytest.raises(UsageError, match="0 new tokens were asked for"):
            greedy(model, np.array([1]), 0)
        assert len(greedy(model, np.zeros(36, np.int64), 4)) == 4


@pytest.mark.slow
def test_other_parts_are_no_language_model(tmp_path):
    export_model(models.streaming(), tmp_path)
    with pytest.raises(UsageError, match="The parts step are not those of a language model"):
        LanguageModel(Program.load(tmp_path))


def test_a_step_may_take_one_token_of_every_sequence(tmp_path):
    """Its input is ids [batch]: what follows is the sum of all tokens so far, modulo the vocabulary."""
    size = 11
    prefill = f"""<ir_version: 9, opset_import: ["" : 18]>
        prefill (int64[batch,prompt] ids) => (float[batch,{size}] logits, int64[batch] next_sum) {{
            axes = Constant <value_ints = [1]> () next_sum = ReduceSum <keepdims = 0> (ids, axes)
            size = Constant <value_int = {size}> () depth = Constant <value_ints = [{size}]> ()
            values = Constant <value_floats = [0.0, 1.0]> ()
            token = Mod (next_sum, size) logits = OneHot (token, depth, values)
        }}"""
    decode = f"""<ir_version: 9, opset_import: ["" : 18]>
        decode (int64[batch] ids, int64[batch] sum) => (float[batch,{size}] logits, int64[batch] next_sum) {{
            next_sum = Add (sum, ids)
            size = Constant <value_int = {size}> () depth = Constant <value_ints = [{size}]> ()
            values = Constant <value_floats = [0.0, 1.0]> ()
            token = Mod (next_sum, size) logits = OneHot (token, depth, values)
        }}"""
    logits, after = (
        TensorSpec("logits", "float32", ("batch", size)),
        TensorSpec("next_sum", "int64", ("batch",)),
    )
    inputs = {
        "prefill": (TensorSpec("ids", "int64", ("batch", "prompt")),),
        "decode": (TensorSpec("ids", "int64", ("batch",)), TensorSpec("sum", "int64", ("batch",))),
    }
    parts = {}
    for name, text in (("prefill", prefill), ("decode", decode)):
        path = tmp_path / f"{name}.onnx"
        onnx.save(onnx.parser.parse_model(text), path)
        parts[name] = Part(name, path, Signature(inputs[name], (logits, after)), [])
    links = [StateLink(name, "next_sum", "decode", "sum") for name in parts]
    prompt = np.array([3, 5, 7])
    expected: list[int] = []
    for _ in range(6):
        expected.append(int(prompt.sum() + sum(expected)) % size)
    with LanguageModel(Program(parts, links=links)) as model:
        assert greedy(model, prompt, 6) == expected
    assert len(set(expected)) > 2


def test_only_an_unread_input_of_a_scatter_may_share_its_buffer(tmp_path):
    def graph(*, extra):
        def value(name, dtype, shape):
            return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))

        cache, new = (value(n, ir.DataType.FLOAT, (4, 2)) for n in ("cache", "new"))
        index = value("index", ir.DataType.INT64, (1, 2))
        scatter = ir.node("ScatterElements", [cache, index, new], {"axis": 0})
        nodes = [scatter]
        if extra:
            nodes.append(ir.node(extra, [cache]))
        for node, name in zip(nodes, ("next", "other"), strict=False):
            node.outputs[0].name = name
        outputs = [node.outputs[0] for node in nodes]
        model = ir.Model(
            ir.Graph([cache, index, new], outputs, nodes=nodes, opset_imports={"": 18}, name="g"),
            ir_version=9,
        )
        path = tmp_path / f"{extra}.onnx"
        ir.save(model, path)
        return path

    assert in_place(graph(extra=None), {"cache": "next"}) == {"cache": "next"}
    assert in_place(graph(extra="Shape"), {"cache": "next"}) == {"cache": "next"}
    assert in_place(graph(extra="Relu"), {"cache": "next"}) == {}
    assert in_place(graph(extra=None), {"new": "next"}) == {}
    assert in_place(graph(extra=None), {"cache": "nothing"}) == {}
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(SourceError, match=r"broken\.onnx"):
        in_place(tmp_path / "broken.onnx", {})
