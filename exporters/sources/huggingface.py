"""A Hugging Face folder: config.json, safetensors, perhaps a tokenizer or an image processor."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from edgepack.exporters.sources import sentence, tasks
from edgepack.exporters.sources.base import Source, TorchModel, sources
from edgepack.exporters.sources.safetensors_files import weight_files
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.files import hash_file

# Files that describe a model to people; changing them does not change the model.
_NOT_MODEL = {".md", ".txt.gz", ".gitattributes", ".gitignore"}


@sources.register("huggingface")
class HuggingFaceSource(Source):
    """A local folder in transformers' format."""

    kind = "huggingface"

    @classmethod
    def accepts(cls, model: str) -> bool:
        return Path(model).is_dir()

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return Path(self.request.model)

    def config(self) -> dict[str, Any]:
        """`config.json` as it stands.

        Raises:
            SourceError: It is missing or not a JSON object with a model type.
        """
        path = self.folder / "config.json"
        if not path.is_file():
            raise SourceError(
                "The folder has no config.json, so it is not a Hugging Face model",
                where=str(self.folder),
                todo="Give the folder that holds config.json and model.safetensors",
            )
        try:
            config = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise SourceError(f"config.json cannot be read: {error}", where=str(path)) from error
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            raise SourceError(
                "config.json does not name a model_type",
                where=str(path),
                todo="Save the model again with transformers' save_pretrained",
            )
        if config.get("auto_map") and not self.request.trust_remote_code:
            raise SourceError(
                "The model wants to run code that lies in its folder (auto_map in config.json)",
                where=str(path),
                todo="Read that code, then pass --trust-remote-code",
            )
        return config

    def task(self, config: dict[str, Any]) -> str:
        """The task: as asked, or found from the folder."""
        if self.request.task is None and (self.folder / sentence.MODULES).is_file():
            return "sentence-similarity"
        return tasks.resolve(self.request.task, list(config.get("architectures") or []), str(self.folder))

    def check(self) -> None:
        config = self.config()
        weight_files(self.folder, trust_pickle=self.request.trust_pickle)
        if self.task(config) == "sentence-similarity" and sentence.read(self.folder) is None:
            raise SourceError(
                f"The task sentence-similarity needs {sentence.MODULES}, which names the pooling",
                where=str(self.folder),
                todo="Use --task feature-extraction",
            )

    def fingerprint(self) -> str | None:
        digest = hashlib.sha256()
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file() and p.suffix not in _NOT_MODEL):
            digest.update(f"{path.relative_to(self.folder).as_posix()}\0{hash_file(path).sha256}\n".encode())
        return digest.hexdigest()

    def open_torch(self) -> TorchModel:
        from edgepack.exporters.sources import _transformers

        config = self.config()
        return _transformers.open_model(self.folder, config, self.task(config), self.request)
