"""Tasks: which head a model is loaded with, and which of its outputs the artifact returns.

The names are those of Hugging Face's pipelines. The table covers single-part programs; generation
needs several parts and says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.toolchain.errors import ExportError, SourceError, UnknownNameError


@dataclass(frozen=True)
class Task:
    """How transformers serves a task.

    Attributes:
        auto_class: Name of the auto class that loads the right head.
        outputs: Attributes of the model's output that the artifact returns.
        heads: Endings of class names in a configuration's `architectures` that mean this task.
    """

    auto_class: str
    outputs: tuple[str, ...]
    heads: tuple[str, ...]


TASKS: dict[str, Task] = {
    "feature-extraction": Task("AutoModel", ("last_hidden_state",), ("Model",)),
    "sentence-similarity": Task("AutoModel", ("sentence_embedding",), ()),
    "fill-mask": Task("AutoModelForMaskedLM", ("logits",), ("ForMaskedLM",)),
    "text-classification": Task(
        "AutoModelForSequenceClassification", ("logits",), ("ForSequenceClassification",)
    ),
    "token-classification": Task("AutoModelForTokenClassification", ("logits",), ("ForTokenClassification",)),
    "question-answering": Task(
        "AutoModelForQuestionAnswering", ("start_logits", "end_logits"), ("ForQuestionAnswering",)
    ),
    "multiple-choice": Task("AutoModelForMultipleChoice", ("logits",), ("ForMultipleChoice",)),
    "image-classification": Task("AutoModelForImageClassification", ("logits",), ("ForImageClassification",)),
    "semantic-segmentation": Task(
        "AutoModelForSemanticSegmentation", ("logits",), ("ForSemanticSegmentation",)
    ),
    "object-detection": Task(
        "AutoModelForObjectDetection", ("logits", "pred_boxes"), ("ForObjectDetection",)
    ),
    "depth-estimation": Task("AutoModelForDepthEstimation", ("predicted_depth",), ("ForDepthEstimation",)),
    "audio-classification": Task("AutoModelForAudioClassification", ("logits",), ("ForAudioClassification",)),
    "automatic-speech-recognition": Task("AutoModelForCTC", ("logits",), ("ForCTC",)),
}

SEVERAL_PARTS = {
    "text-generation": ("ForCausalLM", "LMHeadModel"),
    "text2text-generation": ("ForConditionalGeneration",),
    "image-to-text": ("VisionEncoderDecoderModel",),
}


def resolve(asked: str | None, architectures: list[str], where: str) -> str:
    """The task's name.

    Args:
        asked: The user's choice (a synonym of optimum's is accepted), or None.
        architectures: Class names from the model's configuration.
        where: The model, for messages.

    Raises:
        UnknownNameError: `asked` is no task.
        ExportError: The task needs a program of several parts.
        SourceError: The configuration gives no task away.
    """
    if asked is not None:
        name = asked if asked in TASKS or asked in SEVERAL_PARTS else _synonym(asked)
        if name not in TASKS and name not in SEVERAL_PARTS:
            raise UnknownNameError("task", asked, TASKS, where="--task")
    else:
        name = from_architectures(architectures)
    if name in SEVERAL_PARTS:
        raise ExportError(
            f"The task {name} needs a program of several parts (prefill and decode with caches), "
            "which this version does not export yet",
            where=where,
            todo="Export its hidden states with --task feature-extraction, or give the step as file.py:factory",
        )
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
        for name, heads in [*((n, t.heads) for n, t in TASKS.items()), *SEVERAL_PARTS.items()]:
            if any(architecture.endswith(head) for head in heads):
                return name
    return ""


def _synonym(name: str) -> str:
    """What optimum's task table calls it; only asked for a name that ours does not hold."""
    try:
        from optimum.exporters.tasks import TasksManager
    except ImportError:
        return name
    return str(TasksManager.map_from_synonym(name))
