"""What the target, the workers, the quantizers and the session of ExecuTorch share.

A lowered part is a folder with three files: `model.pte`, the program that the runtime takes, already delegated to
XNNPACK; `model.json`, what is known of it (`Facts`); and `model.pt2`, torch.export's program that it was made of, from
which quantizers start, and files of several methods.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer, write_answer
from edgepack.toolchain.errors import TargetError, ToolchainFailedError, ToolchainMissingError
from edgepack.toolchain.forked import Forked
from edgepack.toolchain.results import NodeReason

DISTRIBUTION = "executorch"
QUANTIZER = "torchao"
INSTALL = "pip install 'edgepack[executorch]'"
OLDEST = (1, 5)
"""The oldest version of ExecuTorch that edgepack knows the interfaces of."""
FORMAT = "executorch"
PROGRAM_FILE = "model.pte"
EXPORTED_FILE = "model.pt2"
METHOD = "forward"
DELEGATE = "XNNPACK"
INSTEAD = "Use --target cpu:onnxruntime or mobile:litert for this model"
WORKERS = Forked("edgepack.toolchain.vendors._executorch_warm")
_runtime: tuple[Any, Any] | None = None
_MARK, _MARK_AT = b"ET", 4  # a flatbuffer's identifier follows its first offset: ET and two digits


@dataclass(frozen=True)
class Facts:
    """What the compiler said of a program.

    Attributes:
        version: Of ExecuTorch.
        delegated: Operators inside XNNPACK's subgraphs; quantizing and dequantizing are parts of their kernels.
        subgraphs: How many there are.
        integer: Operators inside them that read quantized tensors.
        portable: The operators left, each with the reason.
        convolutions: Multiplications of convolutions in one call.
        products: Those of products with constant matrices.
        outputs: Shapes of what its methods give, one after the other, as they came of a call.
    """

    version: str
    delegated: int
    subgraphs: int
    integer: int
    portable: tuple[NodeReason, ...]
    convolutions: int
    products: int
    outputs: tuple[tuple[int, ...], ...]

    @property
    def convolution_share(self) -> float:
        """Share of the multiplications that are convolutions'; 0 where there are none."""
        return self.convolutions / max(1, self.convolutions + self.products)

    @staticmethod
    def of(program: Path) -> Facts:
        """The facts that lie beside a program."""
        data = json.loads(program.with_suffix(".json").read_text())
        return Facts.from_json(data)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Facts:
        """From what a worker answers, and a file holds."""
        portable = tuple(NodeReason(**row) for row in data["portable"])
        outputs = tuple(tuple(int(size) for size in shape) for shape in data["outputs"])
        return Facts(**{**data, "portable": portable, "outputs": outputs})

    def save(self, program: Path) -> None:
        """Write them beside a program."""
        data = {**asdict(self), "portable": [row.model_dump() for row in self.portable]}
        program.with_suffix(".json").write_text(json.dumps(data, indent=1))


def check_version(where: str) -> None:
    """Raise ToolchainMissingError if the installed ExecuTorch is older than what edgepack knows."""
    version = metadata.version(DISTRIBUTION)
    numbers = tuple(int(number) for number in version.split(".")[:2] if number.isdigit())
    if numbers < OLDEST:
        raise ToolchainMissingError(
            f"ExecuTorch {version} is installed, and {'.'.join(map(str, OLDEST))} or newer is needed",
            where=where,
            todo=f"Run: {INSTALL} --upgrade",
        )


def is_program(path: Path) -> bool:
    """Whether a file begins as ExecuTorch's programs do."""
    try:
        with path.open("rb") as file:
            head = file.read(_MARK_AT + 4)
    except OSError:
        return False
    return head[_MARK_AT : _MARK_AT + 2] == _MARK and head[_MARK_AT + 2 :].isdigit()


def ask(worker: str, request: Mapping[str, Any], part: str, folder: Path, time_limit_s: float) -> Facts:
    """Start a worker that writes a program into `folder`, and see what it wrote.

    Args:
        worker: Module name.
        request: For it; "folder" and "answer" are added.
        part: Name of the part, for messages.
        folder: Receives `model.pte` and `model.json`.
        time_limit_s: Seconds that it may take.

    Raises:
        EdgepackError: What the worker wrote down.
        TargetError: XNNPACK takes no operator of the program.
        ToolchainFailedError: It crashed, hung, wrote no program, or is not the version that is installed.
    """
    folder = folder.resolve()  # the worker runs elsewhere
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="executorch-", dir=folder) as scratch:
        made, answer, asked = (Path(scratch) / name for name in ("made", ANSWER_FILE, "request.json"))
        made.mkdir()
        asked.write_text(json.dumps({**request, "folder": str(made), "answer": str(answer)}))
        WORKERS.run(
            "executorch", worker, str(asked), time_limit_s=time_limit_s, cwd=Path(scratch), expect=[answer]
        )
        error, facts = _read(answer, part)
        if error is not None:
            raise error
        _check(facts, made / PROGRAM_FILE, part)
        facts.save(made / PROGRAM_FILE)
        for file in made.iterdir():  # all of them, or none
            file.rename(folder / file.name)
    return facts


def answer(request_file: str, work: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """What a worker's process does: read the request, and answer with the facts that `work` gives, or its error."""
    request = json.loads(Path(request_file).read_text())
    warnings.simplefilter("ignore")  # torch's, torchao's and ExecuTorch's of their own interfaces
    write_answer(Path(request["answer"]), lambda: {"facts": work(request)})


def _check(facts: Facts, program: Path, part: str) -> None:
    """Raise unless there is a program, of the installed version, with something delegated; errors as of `ask`."""
    if not is_program(program):
        raise ToolchainFailedError(
            f"executorch ended with exit code 0 and wrote no program into {PROGRAM_FILE}",
            where=f"part {part}",
        )
    installed = metadata.version(DISTRIBUTION)
    if facts.version != installed:
        raise ToolchainFailedError(
            f"executorch {facts.version} ran, and {installed} is installed",
            where=f"part {part}",
            todo=f"Look for a second installation on PYTHONPATH, or run: {INSTALL}",
        )
    if not facts.delegated:
        raise TargetError(
            f"XNNPACK takes none of the {len(facts.portable)} operators of this model: all would run in "
            "ExecuTorch's portable kernels, which are references and slow",
            where=f"part {part}",
            todo=INSTEAD,
        )


def _read(answer: Path, part: str) -> tuple[Exception | None, Facts]:
    """The worker's error or facts.

    Raises:
        ToolchainFailedError: It wrote neither.
    """
    try:
        found = read_answer(answer)
        error = error_in(found)
        if error is not None:
            return error, Facts("", 0, 0, 0, (), 0, 0, ())
        return None, Facts.from_json(found["facts"])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolchainFailedError(
            f"executorch's worker gave an answer that is none: {type(error).__name__}: {error}",
            where=f"part {part}",
        ) from error


@contextlib.contextmanager
def hushed(words: list[str] | None = None) -> Iterator[None]:
    """Keep what ExecuTorch and torchao write to standard error from the user: facts of the processor, and guesses.

    The compiled code writes to Python's stream, what it is built from to the system's.

    Args:
        words: Receives it, for it is also where the runtime says why it refuses a program.
    """
    text = io.StringIO()
    try:
        saved = os.dup(2)
    except OSError:  # there is no standard error to keep it off
        with contextlib.redirect_stderr(text):
            yield
        return
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    with tempfile.TemporaryFile(prefix="edgepack-executorch-") as file:
        try:
            os.dup2(file.fileno(), 2)
            with contextlib.redirect_stderr(text):
                yield
        finally:
            if libc is not None:
                libc.fflush(None)
            os.dup2(saved, 2)
            os.close(saved)
            if words is not None:
                file.seek(0)
                words += (file.read().decode(errors="replace") + text.getvalue()).splitlines()


def import_runtime() -> tuple[Any, Any]:
    """ExecuTorch's `Runtime` and the extension module below it, without the lines that they print.

    Raises:
        ToolchainMissingError: They are not installed, or do not load.
    """
    global _runtime  # noqa: PLW0603 - importing is once a process; asking again costs nothing
    if _runtime is None:
        try:
            import torch  # noqa: F401 - its logger keeps the stream that it finds: not that within

            with hushed(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that its interface may change
                from executorch.extension.pybindings import portable_lib
                from executorch.runtime import Runtime

                portable_lib._threadpool_get_thread_count()  # noqa: SLF001 - its pool is made now, and says so
        except ImportError as error:
            raise ToolchainMissingError(
                f"ExecuTorch cannot be imported: {error}", todo=f"Run: {INSTALL}"
            ) from error
        _runtime = Runtime, portable_lib
    return _runtime
