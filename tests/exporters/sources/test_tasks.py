import pytest

from edgepack.exporters.sources.tasks import TASKS, resolve
from edgepack.toolchain.errors import SourceError, UnknownNameError


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertModel", "feature-extraction"),
        ("ViTForImageClassification", "image-classification"),
        ("RobertaForSequenceClassification", "text-classification"),
        ("DistilBertForQuestionAnswering", "question-answering"),
        ("Wav2Vec2ForCTC", "automatic-speech-recognition"),
        ("SegformerForSemanticSegmentation", "semantic-segmentation"),
        ("LlamaForCausalLM", "text-generation"),
        ("GPT2LMHeadModel", "text-generation"),
        ("T5ForConditionalGeneration", "text2text-generation"),
        ("WhisperForConditionalGeneration", "automatic-speech-recognition"),
        ("VisionEncoderDecoderModel", "image-to-text"),
        ("Mask2FormerForUniversalSegmentation", "image-segmentation"),
        ("FastSpeech2ConformerModel", "text-to-audio"),
        ("CLIPModel", "zero-shot-image-classification"),
    ],
)
def test_the_task_is_found_from_the_architecture(architecture, task):
    assert resolve(None, [architecture], "model") == task


def test_the_users_task_wins():
    assert resolve("feature-extraction", ["BertForMaskedLM"], "model") == "feature-extraction"


@pytest.mark.slow  # optimum's table of synonyms takes seconds to import
def test_an_unknown_task_gets_the_nearest_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'text-classification'"):
        resolve("text-clasification", [], "model")


@pytest.mark.slow
def test_optimums_synonyms_are_understood():
    assert resolve("sequence-classification", [], "model") == "text-classification"


@pytest.mark.parametrize("task", ["text-generation", "text2text-generation", "feature-extraction"])
def test_optimums_with_past_means_the_same(task):
    assert resolve(f"{task}-with-past", [], "model") == task


def test_no_task_lists_the_known_ones():
    with pytest.raises(SourceError) as caught:
        resolve(None, ["SomethingElse"], "model")
    assert all(task in str(caught.value) for task in TASKS)
