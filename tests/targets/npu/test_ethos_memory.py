"""Options of npu:ethos-u*: every memory that Vela ships, what an accelerator cannot have, and Vela's own answer."""

from __future__ import annotations

import runpy
from configparser import ConfigParser
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.targets.base import Context, targets
from edgepack.targets.npu import _ethos_memory as memories
from edgepack.toolchain.errors import TargetError, UnknownNameError
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.results import Calibration

CONTEXT = Context(source={}, sizes={}, time_limit_s=120)
U55, U65, U85 = "npu:ethos-u55-128", "npu:ethos-u65-512", "npu:ethos-u85-512"


@pytest.fixture(scope="module")
def shipped() -> ConfigParser:
    """Vela's own configurations."""
    file = distribution("ethos-u-vela").locate_file("ethosu/config_files/Arm/vela.ini")
    found = ConfigParser()
    assert found.read(str(file))
    return found


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    """A tiny convolutional network in int8."""
    script = Path(__file__).parents[2] / "tflite_models.py"
    model: Lowered = runpy.run_path(str(script))["write"](tmp_path_factory.mktemp("models"))["cnn"]
    random = np.random.default_rng(5)
    samples = [{"image": random.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(4)]
    facts = Calibration(kind="user", description="test", samples=4, held_out=0)
    offer = targets.get(U55)().offers(model)[0]
    return quantizers.get(str(offer.quantizer))().quantize(
        model,
        offer.precision,
        CalibrationData(facts, samples, [], ""),
        tmp_path_factory.mktemp("q"),
        **offer.options,
    )


def test_every_shipped_memory_can_be_named(shipped: ConfigParser) -> None:
    names = {kind: {s.partition(".")[2] for s in shipped.sections() if s.startswith(kind)} for kind in
             ("System_Config", "Memory_Mode")}  # fmt: skip
    assert set(get_args(memories.SystemConfig)) == names["System_Config"]
    assert set(get_args(memories.MemoryMode)) == names["Memory_Mode"]
    flash = {
        name for name in names["System_Config"] if "Flash" in shipped[f"System_Config.{name}"]["axi1_port"]
    }
    assert flash == memories.FLASH
    for name in names["Memory_Mode"]:
        mode = shipped[f"Memory_Mode.{name}"]
        mode = shipped[mode["inherit"]] if "inherit" in mode else mode
        assert (mode["arena_mem_area"] == "Axi1") == name.startswith("Dedicated_Sram")


def test_what_is_not_said_is_the_target_s_own() -> None:
    told = {name: targets.get(name)().told({}).model_dump() for name in (U55, U65, U85)}
    assert {name: (one["system_config"], one["memory_mode"]) for name, one in told.items()} == {
        U55: ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
        U65: ("Ethos_U65_High_End", "Dedicated_Sram"),
        U85: ("Ethos_U85_SYS_DRAM_High", "Dedicated_Sram_512KB"),
    }
    flash = targets.get(U85)().told({"system_config": "Ethos_U85_SYS_Flash_Low"})
    assert flash.model_dump()["memory_mode"] == "Shared_Sram"


@pytest.mark.parametrize(
    ("name", "values", "error", "said"),
    [
        (U55, {"memory_mode": "Dedicated_Sram"}, TargetError, "an ethos-u55-128 cannot write.*Shared_Sram or Sram_O"),
        (U65, {"system_config": "Ethos_U65_Embedded", "memory_mode": "Dedicated_Sram_256KB"}, TargetError, "has flash"),
        (U65, {"system_config": "Ethos_U85_SYS_DRAM_Low"}, TargetError, "not one of an ethos-u65-512.*U65_Mid_End"),
        (U55, {"memory_mode": "Shared_Ram"}, UnknownNameError, "Did you mean 'Shared_Sram'"),
        (U55, {"memory": "Shared_Sram"}, UnknownNameError, "Did you mean 'memory_mode'"),
    ],
)  # fmt: skip
def test_what_an_accelerator_cannot_have(name: str, values: dict[str, str], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        targets.get(name)().told(values)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "system", "mode"),
    [
        (U55, "Ethos_U55_Deep_Embedded", "Sram_Only"),
        (U55, "Ethos_U55_High_End_Embedded", "Shared_Sram"),
        (U65, "Ethos_U65_Embedded", "Shared_Sram"),
        (U65, "Ethos_U65_Mid_End", "Dedicated_Sram_384KB"),
        (U65, "Ethos_U65_Client_Server", "Sram_Only"),
        (U85, "Ethos_U85_SYS_Flash_High", "Sram_Only"),
        (U85, "Ethos_U85_SYS_DRAM_Low", "Dedicated_Sram"),
        (U85, "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_256KB"),
    ],
)
def test_vela_compiles_for_them(
    name: str, system: str, mode: str, network: Lowered, shipped: ConfigParser, tmp_path: Path
) -> None:
    context = replace(CONTEXT, options={"system_config": system, "memory_mode": mode})
    compiled = targets.get(name)().compile(network, context, tmp_path)
    figures = {metric.name: metric.value for metric in compiled.metrics}
    assert figures["core_clock"] == float(shipped[f"System_Config.{system}"]["core_clock"])
    assert any(f"Vela was given {system} and {mode} " in note for note in compiled.notes)
    # Constants lie in the off-chip memory, which is flash or DRAM, unless SRAM holds everything: Vela then calls
    # the part of it that is not written flash.
    off_chip = figures["flash"] if mode == "Sram_Only" or system in memories.FLASH else figures["dram"]
    assert off_chip > 0
    assert figures["sram"] > 0
    assert compiled.placement.accelerator > 0
