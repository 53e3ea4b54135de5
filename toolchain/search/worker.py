"""One process of a search: asks, measures, files, until nobody needs it any more.

`python -m edgepack.toolchain.search.worker FOLDER INDEX DEADLINE` is how a search starts its other processes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import EdgepackError, UsageError
from edgepack.toolchain.search import settings as files
from edgepack.toolchain.search.ask import Asker
from edgepack.toolchain.search.measure import Bench
from edgepack.toolchain.search.store import Store

_PAUSE_S = 0.2


def work(store: Store, bench: Bench, asker: Asker, tell: Callable[[str], object] = lambda _: None) -> None:
    """Measure candidates until none is left.

    Args:
        store: The trials.
        bench: Where they are measured.
        asker: Who is next.
        tell: Told of every candidate that was measured.
    """
    del store
    while True:
        job = asker.next()
        if job is None:
            return
        if job == "wait":
            time.sleep(_PAUSE_S)
            continue
        try:
            measured = bench.measure(job.choices, job.forms)
        except UsageError:
            raise
        except EdgepackError as error:
            asker.broken(job, str(error))
            continue
        asker.done(job, measured)
        tell(f"{job.side} {job.trial.number}: {1 / measured.latency:.2f}x, loss {measured.loss:.2g}")


def main(folder: Path, index: int, deadline: float) -> None:
    """Join the search in `folder`."""
    settings = files.read(folder)
    store = Store(folder)
    with Cache() as cache:
        bench = Bench(folder, settings, cache)
        try:
            work(store, bench, Asker(store, bench, settings, deadline, index))
        finally:
            bench.close()
            store.close()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    except EdgepackError as error:
        sys.exit(str(error))
