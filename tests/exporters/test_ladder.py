"""The ladder on small real modules; in worker processes, as in a run, where a test asks for `own_process`."""

import json
import textwrap

import numpy as np
import onnx
import pytest

from edgepack.exporters.ladder import climb
from edgepack.exporters.native.base import natives
from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.toolchain.errors import ExportError, SourceError
from edgepack.toolchain.pipeline.judging import GraphJudge
from tests.workers import EXPORT, answered_here

pytestmark = pytest.mark.slow
LIMIT = 300.0


@pytest.fixture
def own_process():
    """The worker in a process of its own, which imports torch for seconds in every request."""


@pytest.fixture(autouse=True)
def worker(request, monkeypatch):
    if "own_process" not in request.fixturenames:
        answered_here(monkeypatch, [EXPORT])


def factory(tmp_path, body, *inputs):
    path = tmp_path / "net.py"
    path.write_text("import torch\n" + textwrap.dedent(body))
    source = open_source(SourceRequest(f"{path}:make", inputs=inputs))
    source.check()
    return source


def climbed(source, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return climb(source, folder, GraphJudge(), LIMIT)


def test_a_plain_network_takes_the_first_rung_with_a_varying_batch(own_process, tmp_path):
    source = factory(
        tmp_path,
        """
        def make():
            print("noise on standard output")
            return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()), (torch.zeros(2, 3, 8, 8),)
        """,
    )
    result = climbed(source, tmp_path)
    part = result.program.parts["main"]
    assert result.rung == "dynamo"
    assert result.left == []
    assert part.signature.inputs[0].shape == ("batch", 3, 8, 8)
    assert result.parity["main"].inputs_tried == 3
    # What the graph says of its opset is what is reported, and it is one that the runtime runs.
    assert onnx.load(part.path, load_external_data=False).opset_import[0].version >= 18


def test_an_output_may_be_called_like_one_of_torchs_own_values(tmp_path):
    source = factory(
        tmp_path,
        """
        class Table(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.rows = torch.nn.Embedding(7, 6)
            def forward(self, x):
                return {"embedding": self.rows(x).unflatten(-1, (2, 3))}
        def make():
            return Table(), (torch.tensor([3, 4]),)
        """,
    )
    result = climbed(source, tmp_path)
    assert result.rung == "dynamo"
    assert result.program.parts["main"].model().graph.outputs[0].name == "embedding"


def test_a_size_that_is_baked_in_goes_down_to_static_with_the_reasons(tmp_path):
    source = factory(
        tmp_path,
        """
        class Fixed(torch.nn.Module):
            def forward(self, x):
                return x.sum(-1) * (2.0 if x.shape[-1] == 4 else 3.0)
        def make():
            return Fixed(), (torch.zeros(2, 3, 4),)
        """,
        "x:float32[2,3,n=4]",
    )
    result = climbed(source, tmp_path)
    assert result.rung == "static"
    assert [reason.split(":")[0] for reason in result.left] == ["dynamo", "dynamo-strict"]
    assert result.program.parts["main"].signature.inputs[0].shape == (2, 3, 4)


def test_a_module_that_no_rung_takes_says_every_reason(tmp_path):
    source = factory(
        tmp_path,
        """
        class Host(torch.nn.Module):
            def forward(self, x):
                for _ in range(int(x.abs().sum()) % 3 + 1):
                    x = x + x.shape[0]
                return x
        def make():
            return Host(), (torch.ones(2, 3),)
        """,
    )
    with pytest.raises(ExportError) as caught:
        climbed(source, tmp_path)
    rungs = ("dynamo", "dynamo-strict", "static", "torchscript", "split")
    assert all(f"{rung}:" in str(caught.value) for rung in rungs)


def test_a_graph_that_lies_is_left(tmp_path):
    """A branch on the data's size is frozen by tracing with one size: the second size shows it."""
    source = factory(
        tmp_path,
        """
        class Branch(torch.nn.Module):
            def forward(self, x):
                with torch.no_grad():
                    scale = 3.0 if int(torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting()) else 1.0
                return x * scale
        def make():
            return Branch(), (torch.ones(2, 3),)
        """,
    )
    with pytest.raises(ExportError, match="outputs differ from the source") as caught:
        climbed(source, tmp_path)
    assert "first wrong output is output" in str(caught.value)


def test_a_worker_that_dies_is_one_clear_error(own_process, tmp_path):
    source = factory(tmp_path, "import os\ndef make():\n    os.abort()")
    with pytest.raises(ExportError, match="The model's process failed with signal 6"):
        climbed(source, tmp_path)


def test_errors_cross_the_process_with_their_kind(own_process, tmp_path):
    source = factory(tmp_path, "def make():\n    return 3")
    with pytest.raises(SourceError, match="returned int") as caught:
        climbed(source, tmp_path)
    assert type(caught.value) is SourceError


def tiny_bert(folder, **changes):
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=40, **changes,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return open_source(SourceRequest(str(folder)))


def test_bert_is_written_from_its_weights(own_process, tmp_path):
    result = climbed(tiny_bert(tmp_path / "bert"), tmp_path)
    part = result.program.parts["main"]
    assert result.rung == "native"
    assert [str(s) for s in part.signature.outputs] == ["last_hidden_state:float32[batch,sequence,32]"]
    # Positions end at 40: no recorded case goes beyond.
    assert max(case.inputs["input_ids"].shape[1] for case in part.cases) <= 40


def test_a_bert_that_the_native_exporter_does_not_know_is_traced(tmp_path):
    result = climbed(tiny_bert(tmp_path / "bert", hidden_act="relu"), tmp_path)
    assert result.rung == "dynamo"
    assert result.left[0].startswith("native: ")
    assert any("finite mask" in note for note in result.program.notes)


def test_a_wrong_native_graph_is_left_for_tracing(tmp_path, monkeypatch):
    source = tiny_bert(tmp_path / "bert")
    right = natives.get("bert")

    def wrong(folder, config, task):
        return right(folder, {**config, "layer_norm_eps": 0.5}, task)

    monkeypatch.setitem(natives._members, "bert", wrong)
    result = climbed(source, tmp_path)
    assert result.rung == "dynamo"
    assert "outputs differ" in result.left[0]


@pytest.mark.parametrize(
    ("family", "config", "task"),
    [
        ("RobertaForSequenceClassification", "RobertaConfig", "text-classification"),
        ("ViTForImageClassification", "ViTConfig", "image-classification"),
    ],
)
def test_other_families_from_their_configuration(tmp_path, family, config, task):
    import transformers

    small = {
        "RobertaConfig": {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                          "intermediate_size": 48, "max_position_embeddings": 66, "num_labels": 3},
        "ViTConfig": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48,
                      "image_size": 32, "patch_size": 8, "num_labels": 5},
    }[config]  # fmt: skip
    folder = tmp_path / "model"
    getattr(transformers, family)(getattr(transformers, config)(**small)).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["architectures"] == [family]
    result = climbed(open_source(SourceRequest(str(folder))), tmp_path)
    assert result.program.source["task"] == task
    assert result.parity["main"].passed
    assert np.isfinite(result.program.parts["main"].cases[0].outputs["logits"]).all()


def test_a_frozen_route_is_left_and_the_networks_become_parts(tmp_path):
    source = factory(
        tmp_path,
        """
        class Route(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.body = torch.nn.Linear(4, 8)
                self.heads = torch.nn.ModuleList(torch.nn.Linear(8, 2) for _ in range(2))
            def forward(self, x):
                h = self.body(x).relu()
                first, second = self.heads[0](h), self.heads[1](h)
                return first if int(x.sum() > 0) else second
        def make():
            return Route(), (torch.ones(2, 4),)
        """,
    )
    result = climbed(source, tmp_path)
    assert list(result.program.parts) == ["body", "heads.0", "heads.1"]
    assert result.rung == "body: dynamo, heads.0: dynamo, heads.1: dynamo"
    # torch may capture the branch by itself some day; today its reasons and that of the trace are told.
    told = " ".join(result.left)
    assert all(f"{rung}: " in told for rung in ("dynamo", "dynamo-strict", "static", "torchscript"))
    assert "values that tracing froze" in told
    notes = " ".join(result.program.notes)
    assert "parts are called as body -> heads.0 -> heads.1" in notes
    written = onnx.load(result.program.parts["body"].path, load_external_data=False).opset_import
    assert f"opset: ai.onnx {written[0].version}" in notes


def test_a_step_made_of_buffers_is_verified_in_a_row(tmp_path):
    source = factory(
        tmp_path,
        """
        class Sum(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("total", torch.ones(4))
            def forward(self, x):
                self.total += x.mean(0)
                return self.total * x
        def make():
            return Sum(), (torch.ones(2, 4),)
        """,
    )
    program = climbed(source, tmp_path).program
    assert [link.input for link in program.links] == ["total"]
    assert len(program.rollout) == 32
    assert program.parts["main"].initial["total"].tolist() == [1.0] * 4
