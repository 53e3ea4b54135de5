"""An environment of npu:coreml whose worker is a script of the test's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.toolchain.vendors import coreml
from tests import isolated

VERSION = next(pin.version for pin in coreml.ENVIRONMENT.pins() if pin.name == coreml.DISTRIBUTION)

HEAD = f"""
def answer(found):
    pathlib.Path(request['answer']).write_text(json.dumps(found))
def good(**other):
    graph = request['graph']
    names = {{'inputs': [one['name'] for one in graph['inputs']], 'outputs': graph['outputs']}}
    answer({{'ok': True, 'versions': {{'coremltools': {VERSION!r}}}, 'operations': {{'conv': 2}}, **names, **other}})
def package():
    home = pathlib.Path(request['package'], 'Data', 'com.apple.CoreML')
    home.mkdir(parents=True)
    (home / 'model.mlmodel').write_bytes(b'program')
    pathlib.Path(request['package'], 'Manifest.json').write_text('{{}}')
"""


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, worker: str) -> None:
    """A ready environment in `folder` whose worker is the given Python code after `HEAD`."""
    versions = {coreml.DISTRIBUTION: VERSION}
    script = isolated.pretend(monkeypatch, folder, coreml.ENVIRONMENT, versions, HEAD + worker)
    monkeypatch.setattr(coreml, "WORKER", replace(coreml.WORKER, script=script))
