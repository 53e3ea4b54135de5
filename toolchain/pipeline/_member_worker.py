"""The process that builds targets for a run, one after the other: what another process of the same cache finds ready.

    python -m edgepack.toolchain.pipeline._member_worker

Lines of JSON come in, the first with the run's facts (`setup`), then one a target; lines of JSON go out: events as
they come, then what failed. Nothing is timed here, for others compute beside it. When its input ends, its parent is
gone or done with it: it stops at once, and the vendor's tool that it waits for with it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.targets.base import Target, targets
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import EdgepackError, UsageError
from edgepack.toolchain.events import Event, Log
from edgepack.toolchain.pipeline import builders_of
from edgepack.toolchain.pipeline.budget import Turn
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.known import Known
from edgepack.toolchain.pipeline.making import build_part
from edgepack.toolchain.pipeline.variants import all_variants
from edgepack.toolchain.pipeline.workbench import Workbench
from edgepack.toolchain.program import Program
from edgepack.toolchain.recipe import Recipe

_LEAVING_S, _GRACE_S = 0.2, 5.0


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print may not mix with answers

    def say(message: Mapping[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    signal.signal(signal.SIGTERM, _stop)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    setup = json.loads(lines.get())
    with Cache(Path(setup["cache"]), max_bytes=setup["cache_bytes"]) as cache:
        folder = Path(setup["program"])
        if not cache.hold(folder):
            msg = f"the program is no longer in the cache: {folder}"
            raise RuntimeError(msg)
        bench = Workbench(
            Recipe(**setup["recipe"]),
            cache,
            Log(lambda event: say(_told(event))),
            setup["run_id"],
            cores=setup["cores"],
        )
        builders, _ = builders_of(bench, Program.load(folder), folder, setup["source"])
        while line := lines.get():
            request = json.loads(line)
            say({"done": request["target"], **_built(bench, builders, request)})


def _built(bench: Workbench, builders: list[Builder], request: Mapping[str, Any]) -> dict[str, Any]:
    """Build one target and say what came to nothing: errors, and precisions turned down for want of time."""
    name, seconds = request["target"], request["seconds"]
    ends = None if seconds is None else time.monotonic() + seconds
    turn = Turn(ends, request["budget"], time.monotonic)
    failed: list[dict[str, Any]] = []
    not_built: list[list[str]] = []
    try:
        target: Target = targets.get(name)()
    except (
        EdgepackError
    ) as error:  # another entry point broke: the parent knows this target, and this process not
        return {"errors": [_wrong(error, None, None)], "not_built": []}
    try:
        turns = all_variants(builders, target)
    except EdgepackError as error:
        return {"errors": [_wrong(error, None, None)], "not_built": []}
    for built_for, builder in turns:
        part = builder.part.name
        try:
            built = build_part(bench, builder, built_for, turn, Known())
        except UsageError as error:
            return {"errors": [_wrong(error, None, None)], "not_built": []}
        except Exception as error:  # noqa: BLE001 - a target of anybody's; it must not take others with it
            failed.append(_wrong(error, part, None))
            continue
        for candidate in built.candidates:
            precision = candidate.offer.precision
            if candidate.error is not None:
                failed.append(_wrong(candidate.error, part, precision))
            elif turn.total is not None and candidate.offer.not_built == turn.reason:
                not_built.append([part, precision, turn.reason])
    return {"errors": failed, "not_built": not_built}


def _wrong(error: Exception, part: str | None, precision: str | None) -> dict[str, Any]:
    where = {"part": part, "precision": precision, "trace": "".join(traceback.format_exception(error))}
    if isinstance(error, EdgepackError):
        kind = type(error).__name__
        return {**where, "type": kind, "what": error.what, "where": error.where, "todo": error.todo}
    return {**where, "type": None, "what": f"{type(error).__name__}: {error}", "where": None, "todo": None}


def _told(event: Event) -> dict[str, Any]:
    record = event.record
    return {
        "event": event.kind,
        "text": event.text,
        "stage": id(record),
        "record": None if record is None else record.model_dump(mode="json"),
    }


def _read(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put("")
    time.sleep(_LEAVING_S)  # idle, the main thread leaves by itself; busy, it is stopped as by the parent
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(1)


def _stop(*_: object) -> None:
    """Ends the main thread by an exception, so that a tool which it waits for is ended too."""
    raise SystemExit(1)


if __name__ == "__main__":
    main()
