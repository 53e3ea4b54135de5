import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.toolchain.errors import SourceError

CONFIG = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 4}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file({"weight": np.zeros((4, 4), np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def check(folder, **options):
    source = open_source(SourceRequest(str(folder), **options))
    source.check()
    return source


def refuse(folder, *said, **options):
    with pytest.raises(SourceError) as caught:
        check(folder, **options)
    text = str(caught.value)
    assert caught.value.exit_code == 5
    assert all(word in text for word in said), text


def test_a_sound_folder_passes(folder):
    assert check(folder).kind == "huggingface"


def test_a_folder_without_a_config(tmp_path):
    refuse(tmp_path, "config.json", str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model_type": 3}'])
def test_a_config_that_says_nothing(folder, text):
    (folder / "config.json").write_text(text)
    refuse(folder, "config.json")


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    refuse(folder, "no weights")


@pytest.mark.parametrize("keep", [0, 4, 60, -8])
def test_truncated_safetensors(folder, keep):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    refuse(folder, "model.safetensors", "not a whole safetensors file")


def test_a_safetensors_header_that_lies_about_its_length(folder):
    file = folder / "model.safetensors"
    file.write_bytes((1 << 60).to_bytes(8, "little") + file.read_bytes()[8:])
    refuse(folder, "not a whole safetensors file")


def test_a_pickle_needs_trust(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    refuse(folder, "pickle", "--trust-pickle")
    assert check(folder, trust_pickle=True)


def test_remote_code_needs_trust(folder):
    (folder / "config.json").write_text(json.dumps(CONFIG | {"auto_map": {"AutoModel": "code.Model"}}))
    refuse(folder, "auto_map", "--trust-remote-code")
    assert check(folder, trust_remote_code=True)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", 3])
def test_an_index_that_leads_out_of_the_folder(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": name}}))
    with pytest.raises(SourceError):
        check(folder)


def test_an_index_with_a_missing_shard(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"weight": "one.safetensors"}})
    )
    refuse(folder, "one.safetensors", "missing")


def test_a_sentence_encoder_is_recognised_by_its_folder(minilm):
    source = check(minilm)
    assert source.task(source.config()) == "sentence-similarity"


def test_an_unknown_pooling_step_is_named(minilm, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(minilm, copy)
    modules = json.loads((copy / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (copy / "modules.json").write_text(json.dumps(modules))
    refuse(copy, "Dense", "--task feature-extraction")
    assert check(copy, task="feature-extraction")


def test_the_fingerprint_follows_weights_and_configuration_not_the_readme(folder):
    first = check(folder).fingerprint()
    (folder / "README.md").write_text("words")
    assert check(folder).fingerprint() == first
    save_file({"weight": np.ones((4, 4), np.float32)}, folder / "model.safetensors")
    second = check(folder).fingerprint()
    assert second != first
    (folder / "config.json").write_text(json.dumps(CONFIG | {"hidden_size": 5}))
    assert check(folder).fingerprint() not in {first, second}


def test_nothing_there_names_the_forms():
    with pytest.raises(SourceError, match="There is no model at"):
        open_source(SourceRequest("no/such/model"))


def test_a_bare_pickle_is_refused(tmp_path):
    path = Path(tmp_path, "model.pth")
    path.write_bytes(b"x")
    with pytest.raises(SourceError, match="pickle"):
        open_source(SourceRequest(str(path)))


@pytest.mark.parametrize(
    ("architecture", "task"),
    [("LlamaForCausalLM", "text-generation"), ("T5ForConditionalGeneration", "text2text-generation")],
)
def test_a_model_that_generates_is_not_refused(folder, architecture, task):
    (folder / "config.json").write_text(json.dumps(CONFIG | {"architectures": [architecture]}))
    source = check(folder)
    assert source.task(source.config()) == task
