"""Which memories an Ethos-U works with: the system configurations and memory modes of Vela's own `Arm/vela.ini`.

A system configuration says how fast the NPU and its two memories are: on-chip SRAM, and flash or DRAM off the chip. A
memory mode says what lies where:

    mode              constants    activations    cache of the NPU's own
    Sram_Only         SRAM         SRAM           SRAM
    Shared_Sram       off-chip     SRAM           SRAM
    Dedicated_Sram    off-chip     off-chip       SRAM, all of it or so many KiB

Activations are written, so that Dedicated_Sram needs DRAM: with flash no such mode exists. The configurations of an
Ethos-U55 and the embedded ones of the others have flash.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.options import Options

SystemConfig = Literal[
    "Ethos_U55_Deep_Embedded", "Ethos_U55_High_End_Embedded",
    "Ethos_U65_Embedded", "Ethos_U65_Mid_End", "Ethos_U65_High_End", "Ethos_U65_Client_Server",
    "Ethos_U85_SYS_Flash_Low", "Ethos_U85_SYS_Flash_High",
    "Ethos_U85_SYS_DRAM_Low", "Ethos_U85_SYS_DRAM_Mid", "Ethos_U85_SYS_DRAM_High",
]  # fmt: skip
MemoryMode = Literal[
    "Sram_Only", "Shared_Sram",
    "Dedicated_Sram", "Dedicated_Sram_256KB", "Dedicated_Sram_384KB", "Dedicated_Sram_512KB",
]  # fmt: skip
FLASH: frozenset[str] = frozenset(
    {
        "Ethos_U55_Deep_Embedded",
        "Ethos_U55_High_End_Embedded",
        "Ethos_U65_Embedded",
        "Ethos_U85_SYS_Flash_Low",
        "Ethos_U85_SYS_Flash_High",
    }
)
"""The configurations whose off-chip memory is flash."""
_DEDICATED = "Dedicated_Sram"


class EthosOptions(Options):
    """What an Ethos-U can be told."""

    system_config: SystemConfig | None = Field(
        None, description="clock and memories, by Vela's name; by default the target's own"
    )
    memory_mode: MemoryMode | None = Field(
        None, description="what lies in which memory; by default the target's own, or Shared_Sram with flash"
    )


def settled(asked: EthosOptions, config: str, system: str, mode: str) -> EthosOptions:
    """The options with the target's own where the user said nothing.

    Args:
        asked: What the user said.
        config: The accelerator: "ethos-u55-128".
        system: Its own system configuration.
        mode: Its own memory mode.

    Raises:
        TargetError: The configuration is another accelerator's, or the mode needs a memory that it does not have.
    """
    chosen = asked.system_config or system
    family = "_".join(word.title() for word in config.split("-")[:2]) + "_"  # Ethos_U55_
    if not chosen.startswith(family):
        fitting = ", ".join(name for name in get_args(SystemConfig) if name.startswith(family))
        raise TargetError(
            f"The system configuration {chosen} is not one of an {config}",
            where=f"--target-option system_config, npu:{config}",
            todo=f"Choose one of {fitting}",
        )
    if asked.memory_mode is None and chosen in FLASH and mode.startswith(_DEDICATED):
        mode = "Shared_Sram"
    memory = asked.memory_mode or mode
    if memory.startswith(_DEDICATED) and chosen in FLASH:
        raise TargetError(
            f"The memory mode {memory} keeps activations off the chip, and {chosen} has flash there, which an "
            f"{config} cannot write",
            where=f"--target-option memory_mode, npu:{config}",
            todo="Choose Shared_Sram or Sram_Only, or a system_config with DRAM",
        )
    return EthosOptions.of({"system_config": chosen, "memory_mode": memory}, f"npu:{config}")


def cache_bytes(mode: str) -> int:
    """What a memory mode keeps on the chip for activations that lie off it; 0 where it states no size."""
    size = mode.removeprefix(f"{_DEDICATED}_").removesuffix("KB")
    return int(size) * 1024 if size.isdecimal() else 0
