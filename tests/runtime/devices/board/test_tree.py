"""A board's /proc and /sys: read as a device's, they tell of the emulated processor and nothing of this machine."""

from __future__ import annotations

import pytest

from edgepack.runtime import environment
from edgepack.runtime.devices.board import tree
from edgepack.runtime.devices.board.emulator import PROCESSORS
from edgepack.runtime.devices.runner import readings


@pytest.mark.parametrize(
    ("name", "shown", "dots"),
    [
        ("cortex-a53", "Cortex-A53", False),
        ("cortex-a72", "Cortex-A72", False),
        ("cortex-a76", "Cortex-A76", True),
    ],
)
def test_it_is_the_emulated_processor(name, shown, dots, tmp_path):
    tree.write(tmp_path, PROCESSORS[name], "7.2")
    facts = environment.facts(1, spinning=False, root=tmp_path, cores=1)
    assert shown in facts["cpu_model"]
    assert "emulated" in facts["cpu_model"]
    assert ("asimddp" in facts["cpu_features"]) is dots
    assert facts["os"].endswith("aarch64")
    assert facts["governor"] is facts["load_average"] is facts["temperature_c"] is None
    assert readings.clusters(tmp_path) == [{"cpus": [0], "max_khz": None}]
    assert not any(readings.reading(tmp_path).values())


def test_every_processor_is_tried():
    assert set(PROCESSORS) == {"cortex-a53", "cortex-a72", "cortex-a76"}


def test_a_system_of_its_own_keeps_its_name(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_text('PRETTY_NAME="Debian"\n')
    tree.write(tmp_path, PROCESSORS["cortex-a76"], "7.2")
    assert environment.facts(1, spinning=False, root=tmp_path, cores=1)["os"].startswith("Debian, ")
