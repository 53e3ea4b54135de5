"""Tasks: which head a model is loaded with, and which of its outputs the artifact returns.

The names are those of Hugging Face's pipelines. Tasks that generate token by token become programs of
several parts, with their caches as inputs and outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.toolchain.errors import SourceError, UnknownNameError


@dataclass(frozen=True)
class Task:
    """How transformers serves a task.

    Attributes:
        auto_classes: Names of the auto classes that load the right head, one for each kind of model.
        outputs: Attributes of the model's output that the artifact returns.
        heads: Endings of class names in a configuration's `architectures` that mean this task.
        generates: Whether a decoder writes tokens one after the other.
    """

    auto_classes: tuple[str, ...]
    outputs: tuple[str, ...]
    heads: tuple[str, ...]
    generates: bool = False


TASKS: dict[str, Task] = {
    "automatic-speech-recognition": Task(
        ("AutoModelForCTC", "AutoModelForSpeechSeq2Seq"),
        ("logits",),
        (
            "ForCTC",
            "WhisperForConditionalGeneration",
            "CanaryForConditionalGeneration",
            "Speech2TextForConditionalGeneration",
            "MoonshineForConditionalGeneration",
            "SpeechEncoderDecoderModel",
        ),
        generates=True,
    ),
    "image-to-text": Task(
        ("AutoModelForImageTextToText",), ("logits",), ("VisionEncoderDecoderModel",), generates=True
    ),
    "text-generation": Task(
        ("AutoModelForCausalLM",), ("logits",), ("ForCausalLM", "LMHeadModel"), generates=True
    ),
    "text2text-generation": Task(
        ("AutoModelForSeq2SeqLM",), ("logits",), ("ForConditionalGeneration",), generates=True
    ),
    "feature-extraction": Task(("AutoModel",), ("last_hidden_state",), ("Model",)),
    "sentence-similarity": Task(("AutoModel",), ("sentence_embedding",), ()),
    "fill-mask": Task(("AutoModelForMaskedLM",), ("logits",), ("ForMaskedLM",)),
    "text-classification": Task(
        ("AutoModelForSequenceClassification",), ("logits",), ("ForSequenceClassification",)
    ),
    "token-classification": Task(
        ("AutoModelForTokenClassification",), ("logits",), ("ForTokenClassification",)
    ),
    "question-answering": Task(
        ("AutoModelForQuestionAnswering",), ("start_logits", "end_logits"), ("ForQuestionAnswering",)
    ),
    "multiple-choice": Task(("AutoModelForMultipleChoice",), ("logits",), ("ForMultipleChoice",)),
    "image-classification": Task(
        ("AutoModelForImageClassification",), ("logits",), ("ForImageClassification",)
    ),
    "semantic-segmentation": Task(
        ("AutoModelForSemanticSegmentation",), ("logits",), ("ForSemanticSegmentation",)
    ),
    "image-segmentation": Task(
        ("AutoModelForUniversalSegmentation",),
        ("class_queries_logits", "masks_queries_logits"),
        ("ForUniversalSegmentation", "ForInstanceSegmentation"),
    ),
    "object-detection": Task(
        ("AutoModelForObjectDetection",), ("logits", "pred_boxes"), ("ForObjectDetection",)
    ),
    "depth-estimation": Task(("AutoModelForDepthEstimation",), ("predicted_depth",), ("ForDepthEstimation",)),
    "zero-shot-image-classification": Task(
        ("AutoModelForZeroShotImageClassification",), ("logits_per_image",), ("CLIPModel", "SiglipModel")
    ),
    "audio-classification": Task(
        ("AutoModelForAudioClassification",), ("logits",), ("ForAudioClassification",)
    ),
    "text-to-audio": Task(
        ("AutoModelForTextToSpectrogram",), ("spectrogram",), ("FastSpeech2ConformerModel", "ForTextToSpeech")
    ),
}


def resolve(asked: str | None, architectures: list[str], where: str) -> str:
    """The task's name.

    Args:
        asked: The user's choice (a synonym of optimum's is accepted), or None.
        architectures: Class names from the model's configuration.
        where: The model, for messages.

    Raises:
        UnknownNameError: `asked` is no task.
        SourceError: The configuration gives no task away.
    """
    if asked is not None:
        # optimum's "-with-past" asks for what every generating program has here.
        plain = asked.removesuffix("-with-past")
        name = plain if plain in TASKS else _synonym(plain)
        if name not in TASKS:
            raise UnknownNameError("task", asked, TASKS, where="--task")
    else:
        name = from_architectures(architectures)
    if not name:
        raise SourceError(
            f"The configuration does not give the task away (architectures: {', '.join(architectures) or 'none'})",
            where=where,
            todo=f"Name it with --task, one of: {', '.join(TASKS)}",
        )
    return name


def from_architectures(architectures: list[str]) -> str:
    """The task that the class names mean by their endings, or "" when they mean none."""
    for architecture in architectures:
        fits = [
            (len(head), name)
            for name, task in TASKS.items()
            for head in task.heads
            if architecture.endswith(head)
        ]
        if fits:
            # The longest ending says most: FastSpeech2ConformerModel is more than a Model.
            return max(fits, key=lambda pair: pair[0])[1]
    return ""


def _synonym(name: str) -> str:
    """What optimum's task table calls it; only asked for a name that ours does not hold."""
    try:
        from optimum.exporters.tasks import TasksManager
    except ImportError:
        return name
    return str(TasksManager.map_from_synonym(name))
