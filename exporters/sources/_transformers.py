"""Opening a Hugging Face folder with transformers: its parts share one loaded model.

What a task needs decides what the parts are: a decoder that writes token by token is a prompt and a step
(`_families.causal_lm`), one that listens to an encoder is an encoder and a step (`_families.seq2seq`),
everything else is one part (`_families.single`). The known rewrites of a family's forward stand in
`_families` too; the reference is always the unchanged model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.exporters.sources import tasks
from edgepack.exporters.sources._families import causal_lm, seq2seq, single
from edgepack.exporters.sources._families.loading import facts, load
from edgepack.exporters.sources.base import SourceRequest, TorchModel


def open_model(folder: Path, config: Mapping[str, Any], task: str, request: SourceRequest) -> TorchModel:
    """Load the model with the head of `task` and take it apart.

    Raises:
        SourceError: transformers does not know or cannot load it, or its inputs are of no known kind.
    """
    model = load(folder, config, task, request)
    told = facts(model, folder, task)
    if tasks.TASKS[task].generates and model.config.is_encoder_decoder:
        parts, links, rollout = seq2seq.parts(model, str(folder))
        return TorchModel(parts, told, causal_lm.notes(model, parts), links, rollout)
    if task == "text-generation":
        parts, links, rollout = causal_lm.parts(model, str(folder))
        return TorchModel(parts, told, causal_lm.notes(model, parts), links, rollout)
    part, notes = single.part(model, folder, task)
    return TorchModel({"main": part}, told, notes)
