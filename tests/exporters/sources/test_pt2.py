import contextlib
import io
import os
import zipfile

import numpy as np
import pytest
import torch

from edgepack.exporters.record import record
from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.toolchain.errors import SourceError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU()).eval()
    batch = torch.export.Dim("n", max=64)
    program = torch.export.export(net, (torch.ones(3, 6),), dynamic_shapes=({0: batch},))
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    torch.export.save(program, path)
    return path


def test_an_exported_program_is_recorded_over_sizes(saved):
    source = open_source(SourceRequest(str(saved)))
    source.check()
    model = source.open_torch().main
    cases, signature = record(model)
    assert len(signature.symbols) == 1
    assert len({case.inputs[signature.inputs[0].name].shape for case in cases}) == 3
    assert model.limits == {signature.symbols[0]: 64}
    assert np.isfinite(cases[0].outputs[signature.outputs[0].name]).all()


def opened(source):
    source.check()
    return source.open_torch().main


@pytest.mark.parametrize("keep", [0, 100, -30])
def test_a_truncated_archive(saved, tmp_path, keep):
    path = tmp_path / "net.pt2"
    path.write_bytes(saved.read_bytes()[:keep])
    source = open_source(SourceRequest(str(path)))
    with pytest.raises(SourceError, match=r"net\.pt2"):
        opened(source)


def test_a_damaged_member(saved, tmp_path):
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data[largest.header_offset + 30 + len(largest.filename) + largest.file_size // 2] ^= 0xFF
    path = tmp_path / "net.pt2"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"net\.pt2"):
        open_source(SourceRequest(str(path))).check()


def test_a_zip_that_is_no_program(tmp_path):
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    source = open_source(SourceRequest(str(path)))
    source.check()
    with pytest.raises(SourceError, match=r"cannot load net\.pt2"):
        source.open_torch()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("trusted", [False, True])
def test_a_pickle_inside_runs_only_when_trusted(saved, tmp_path, trusted):
    evil = io.BytesIO()
    torch.save({"args": Evil(tmp_path / "pwned")}, evil)
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(path, "w") as archive:
        for info in whole.infolist():
            hostile = "sample_inputs" in info.filename
            archive.writestr(info, evil.getvalue() if hostile else whole.read(info))
    source = open_source(SourceRequest(str(path), trust_pickle=trusted))
    with contextlib.suppress(SourceError, TypeError, ValueError):
        opened(source)
    assert (tmp_path / "pwned").exists() == trusted


def test_a_missing_file():
    with pytest.raises(SourceError, match="There is no file"):
        open_source(SourceRequest("nowhere.pt2")).check()
