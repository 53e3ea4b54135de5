"""A language model's parts as one thing that takes a prompt and then token after token.

Forms, by the names of the parts:

    encoder + decoder    the prompt goes to the encoder, once; decoding begins with a start token
    prefill + decode     the prompt goes to prefill
    decoder (or decode)  the prompt and the tokens go to the same graph

The token input is "ids" [batch, step], or [batch] of a step that takes one token; the output is "logits" [batch,
vocabulary] or [batch, step, vocabulary]. "positions" [step] and "slots" [capacity] are given to parts that take them:
caches of fixed capacity. All other inputs are states, which never pass through numpy
(`sessions/_onnxruntime_states.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgepack.runtime.sessions._onnxruntime_states import StateSession, in_place
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.program import Program

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

_FORMS = (("encoder", "decoder"), ("prefill", "decode"), ("decoder",), ("decode",))
_GIVEN = ("ids", "positions", "slots")


class LanguageModel:
    """The opened parts of a program.

    Args:
        program: Of one of the forms above.
        threads: Threads within one operator.
        positions: Most positions of a sequence, where the graph itself has no limit.
        files: Other files of the parts, such as quantized ones.
        share: Whether caches that may are updated in place; False is for comparisons.

    Raises:
        UsageError: The program is of none of the forms.
        SourceError: A file cannot be loaded.
    """

    def __init__(
        self,
        program: Program,
        *,
        threads: int = 1,
        positions: int | None = None,
        files: Mapping[str, Path] | None = None,
        share: bool = True,
    ) -> None:
        self._first, self._next = _form(program)
        self.positions = positions
        self._program = program
        self._sessions: dict[str, StateSession] = {}
        for name in dict.fromkeys((self._first, self._next)):
            part = program.parts[name]
            path = (files or {}).get(name, part.path)
            own = {k.input: k.output for k in program.links if k.from_part == k.to_part == name}
            self._sessions[name] = StateSession(
                path,
                part.signature,
                keep={link.output for link in program.links if link.from_part == name},
                shared=in_place(path, own) if share else {},
                threads=threads,
            )
        self._player = self._fresh()
        self._filled = 0
        self._slots: np.ndarray | None = None

    @property
    def encodes(self) -> bool:
        """Whether the prompt goes to an encoder, and decoding begins with a start token."""
        return self._first == "encoder"

    @property
    def vocabulary(self) -> int | None:
        """Number of tokens, where the graph says it."""
        size = self._program.parts[self._next].signature.output("logits").shape[-1]
        return size if isinstance(size, int) else None

    def begin(self, prompt: np.ndarray, room: int, start: int = 0) -> np.ndarray:
        """A new sequence: logits [batch, vocabulary] of its first token.

        Args:
            prompt: int64 [batch, sequence].
            room: Tokens that will be generated at most.
            start: The start token of a model with an encoder.

        Raises:
            UsageError: The prompt is empty, of another dtype, holds no tokens of the vocabulary, or is longer
                than the model's positions allow.
        """
        import numpy as np

        self._check(prompt, room)
        self._player = self._fresh()
        self._filled = 0
        if self.encodes:
            self._slots = np.arange(room + 1)
            self._player.call(self._first, {"ids": prompt})
            return self.step(np.full((len(prompt), 1), start, np.int64))
        self._slots = np.arange(prompt.shape[1] + room)
        return self._call(self._first, prompt)

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """Logits [batch, vocabulary] of what follows `tokens`, int64 [batch, step]."""
        return self._call(self._next, tokens)

    def close(self) -> None:
        """Release the runtime's memory."""
        self._player.reset()
        for session in self._sessions.values():
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fresh(self) -> StatefulProgram:
        """No states yet. Initial values are copied: a state updated in place is written over."""
        parts = [self._program.parts[name] for name in self._sessions]
        return StatefulProgram(
            {part.name: part.signature for part in parts},
            self._program.links,
            lambda name, feed: self._sessions[name].call(feed),
            {part.name: {name: value.copy() for name, value in part.initial.items()} for part in parts},
        )

    def _call(self, part: str, ids: np.ndarray) -> np.ndarray:
        import numpy as np

        end = self._filled + ids.shape[1]
        given: dict[str, Any] = {
            "ids": ids, "positions": np.arange(self._filled, end), "slots": self._slots,
        }  # fmt: skip
        signature = self._player.signatures[part]
        if not signature.input("ids").shape[1:]:
            given["ids"] = ids[:, 0]
        takes = {spec.name for spec in signature.inputs}
        outputs = self._player.call(part, {name: given[name] for name in _GIVEN if name in takes})
        self._filled = end
        logits = outputs["logits"]
        return logits[:, -1] if logits.ndim == 3 else logits  # noqa: PLR2004 - [batch, step, vocabulary]

    def _check(self, prompt: np.ndarray, room: int) -> None:
        if prompt.dtype != "int64":
            raise UsageError(
                f"A prompt must be int64 tokens, and {prompt.dtype} was given",
                where="prompt",
                todo="Convert it with .astype('int64')",
            )
        if prompt.ndim != 2 or not prompt.size:  # noqa: PLR2004 - [batch, sequence]
            what = "is empty" if not prompt.size else f"has the shape {list(prompt.shape)}"
            raise UsageError(
                f"The prompt {what}", where="prompt", todo="Give at least one token, as [batch, sequence]"
            )
        length = prompt.shape[1]
        # An encoder's input and what is generated (after the start token) have positions of their own.
        needed = max(length, room + 1) if self.encodes else length + room
        if self.positions is not None and needed > self.positions:
            raise UsageError(
                f"A prompt of {length} tokens and {room} new ones need {needed} positions, "
                f"and the model has {self.positions}",
                where="prompt",
                todo="Shorten the prompt, or ask for fewer tokens",
            )
        size = self.vocabulary
        if size is not None and not 0 <= prompt.min() <= prompt.max() < size:
            raise UsageError(
                f"The prompt holds tokens from {prompt.min()} to {prompt.max()}, "
                f"and the vocabulary has {size}",
                where="prompt",
                todo="Use the tokenizer that belongs to the model",
            )


def _form(program: Program) -> tuple[str, str]:
    for form in _FORMS:
        if all(name in program.parts for name in form):
            _check_inputs(program, form)
            return form[0], form[-1]
    raise UsageError(
        f"The parts {', '.join(program.parts)} are not those of a language model",
        todo=f"It must have {', or '.join(' and '.join(form) for form in _FORMS)}",
    )


def _check_inputs(program: Program, form: tuple[str, ...]) -> None:
    for name in form:
        states = program.states(name)
        for spec in program.parts[name].signature.inputs:
            if spec.name not in states and spec.name not in _GIVEN:
                raise UsageError(
                    f"The part '{name}' takes '{spec.name}', which is neither a state nor known to generation",
                    todo=f"Its inputs must be states, or named {', '.join(_GIVEN)}",
                )
