"""Which processor it is, and which of its instructions matter to a network, from /proc/cpuinfo's text."""

from __future__ import annotations

import platform
from collections import Counter

_X86_FEATURES = (
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_vpopcntdq",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
)
_ARM_FEATURES = (
    "neon",
    "asimd",
    "fphp",
    "asimdhp",
    "asimddp",
    "asimdfhm",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "svei8mm",
    "sme",
)
_RISCV_FEATURES = ("v", "zfh", "zvfh", "zba", "zbb")

# Implementer (MIDR_EL1 bits 31..24) and part number (bits 15..4), from Arm's technical reference manuals.
_ARM_PARTS = {
    (0x41, 0xC07): "Cortex-A7",
    (0x41, 0xC08): "Cortex-A8",
    (0x41, 0xC09): "Cortex-A9",
    (0x41, 0xC0F): "Cortex-A15",
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
}


def cpu_model(cpuinfo: str, board: str | None = None) -> str:
    """The processor's name: as x86 states it; on Arm the cores by part number, with the board if it says.

    Virtual machines often hide which one it is ("AMD EPYC", from Zen 1 to Zen 5): to a name without a number the family
    and model are added, which they do not hide.

    Args:
        cpuinfo: Content of /proc/cpuinfo; may be empty.
        board: Content of /proc/device-tree/model.
    """
    fields = _fields(cpuinfo)
    cores = _arm_cores(fields)
    for key in ("model name", "cpu model", "uarch"):
        names = [value for name, value in fields if name == key]
        # 32-bit Arm kernels put the architecture here ("ARMv7 Processor rev 4 (v7l)"): the part says more.
        if names and not (cores and names[0].lower().startswith("arm")):
            return _told_apart(names[0], fields)
    said = dict(fields)
    board = board or said.get("Model") or said.get("Hardware")
    if cores:
        return f"{cores} ({board})" if board else cores
    return board or platform.processor() or platform.machine() or "unknown"


def cpu_features(cpuinfo: str) -> list[str]:
    """The instruction sets that inference kernels ask for, by the kernel's names, those of all cores."""
    fields = _fields(cpuinfo)
    lines = [set(value.split()) for name, value in fields if name in ("flags", "Features")]
    if lines:
        common = set.intersection(*lines)
        return [name for name in (*_X86_FEATURES, *_ARM_FEATURES) if name in common]
    isa = next((value.lower() for name, value in fields if name == "isa"), "")
    base, *extensions = isa.split("_")
    letters = set(base.removeprefix("rv64").removeprefix("rv32"))
    return [name for name in _RISCV_FEATURES if name in letters or name in extensions]


def _told_apart(name: str, fields: list[tuple[str, str]]) -> str:
    said = dict(fields)
    if any(character.isdigit() for character in name) or not {"cpu family", "model"} <= said.keys():
        return name
    return f"{name} (family {said['cpu family']}, model {said['model']})"


def _arm_cores(fields: list[tuple[str, str]]) -> str | None:
    """Such as "4x Cortex-A76 + 4x Cortex-A55"; a part not in the table by its numbers."""
    implementers = [value for name, value in fields if name == "CPU implementer"]
    parts = [value for name, value in fields if name == "CPU part"]
    try:
        numbers = [(int(a, 16), int(b, 16)) for a, b in zip(implementers, parts, strict=False)]
    except ValueError:
        return None
    names = Counter(
        _ARM_PARTS.get(pair, f"Arm part {pair[1]:#x} of implementer {pair[0]:#x}") for pair in numbers
    )
    return " + ".join(f"{count}x {name}" for name, count in names.most_common()) or None


def _fields(cpuinfo: str) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    return [(name.strip(), value.strip()) for name, colon, value in pairs if colon]
