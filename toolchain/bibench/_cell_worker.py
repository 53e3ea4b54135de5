"""The process that trains cells: asked for one after the other, it leaves each in the table's store.

    python -m edgepack.toolchain.bibench._cell_worker < names of request files, one a line

Answers each, in the request's "answer", with why there is no cell: null where there is one. A crash leaves no answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from edgepack.toolchain.bibench import stored
from edgepack.toolchain.bibench.cells.cell import Work
from edgepack.toolchain.cache import Cache


def main(request_files: Iterable[str]) -> None:
    """Answer requests until there are no more."""
    for name in request_files:
        request = json.loads(Path(name).read_text(encoding="utf-8"))
        fields = request["work"] | {"severities": tuple(request["work"]["severities"])}
        with Cache(request["store"], max_bytes=request["max_bytes"]) as store:
            cell, folder = stored.cell(Work(**fields), request["machine"], store)
        answer = Path(request["answer"])
        temporary = answer.with_suffix(".tmp")
        temporary.write_text(json.dumps(None if folder else cell.missing), encoding="utf-8")
        temporary.replace(answer)


if __name__ == "__main__":
    main(line.rstrip("\n") for line in sys.stdin)
