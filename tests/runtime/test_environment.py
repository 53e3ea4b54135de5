"""What a machine says of itself, read from trees of /proc and /sys made here, and once from this machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from edgepack.runtime._cpu import cpu_features, cpu_model
from edgepack.runtime.environment import capture, fingerprint, usable_cores
from edgepack.toolchain.results import Environment

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) Ultra 7 155H
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx_vnni rdtscp

processor\t: 1
model name\t: Intel(R) Core(TM) Ultra 7 155H
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx_vnni rdtscp avx512f
"""
_A55 = """\
processor\t: {0}
BogoMIPS\t: 48.00
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd05

"""
RK3588 = "".join(_A55.format(n) for n in range(4)) + "".join(
    _A55.format(n).replace("0xd05", "0xd0b") for n in range(4, 8)
)
PI_2 = """\
processor\t: 0
model name\t: ARMv7 Processor rev 5 (v7l)
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm
CPU implementer\t: 0x41
CPU part\t: 0xc07

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 2 Model B Rev 1.1
"""
RISCV = "processor\t: 0\nisa\t\t: rv64imafdcv_zicsr_zba_zbb_zfh\nuarch\t\t: thead,c908\n"


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """An RK3588 board under load."""
    clusters = {n: "ondemand" if n < 4 else "performance" for n in range(8)}
    return _tree(
        tmp_path,
        {
            "proc/cpuinfo": RK3588,
            "proc/device-tree/model": "Radxa ROCK 5B\0",
            "proc/meminfo": "MemTotal:        8000000 kB\nMemFree:          100 kB\n",
            "proc/loadavg": "1.25 0.50 0.10 1/200 999\n",
            "proc/sys/kernel/osrelease": "6.1.75-rockchip\n",
            "proc/sys/kernel/arch": "aarch64\n",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "sys/class/thermal/thermal_zone0/type": "soc-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "47200\n",
            "sys/class/thermal/thermal_zone1/type": "bigcore0-thermal\n",
            "sys/class/thermal/thermal_zone1/temp": "51300\n",
            "sys/class/thermal/thermal_zone2/type": "npu-thermal\n",
            "sys/class/thermal/thermal_zone2/temp": "60000\n",
            "sys/class/thermal/thermal_zone3/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone3/temp": "0\n",
            **{f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor": g for n, g in clusters.items()},
        },
    )


def test_an_arm_board(board: Path) -> None:
    found = capture(4, spinning=True, root=board, cores=8)
    assert found.cpu_model == "4x Cortex-A55 + 4x Cortex-A76 (Radxa ROCK 5B)"
    assert found.cpu_features == ["asimd", "fphp", "asimdhp", "asimddp"]
    assert (found.cores, found.threads, found.spinning) == (8, 4, True)
    assert found.governor == "ondemand, performance"
    assert found.load_average == 1.25
    assert found.temperature_c == 51.3
    assert found.memory_bytes == 8_000_000 * 1024
    assert found.os == "Debian GNU/Linux 12 (bookworm), Linux 6.1.75-rockchip, aarch64"


def test_x86_features_are_those_that_every_core_has() -> None:
    assert cpu_model(X86) == "Intel(R) Core(TM) Ultra 7 155H"
    assert cpu_features(X86) == ["sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni"]


def test_a_name_that_several_processors_have_gets_family_and_model() -> None:
    hidden = X86.replace("Intel(R) Core(TM) Ultra 7 155H", "AMD EPYC")
    assert cpu_model(hidden) == "AMD EPYC"
    told = hidden.replace("model name", "cpu family\t: 26\nmodel\t\t: 2\nmodel name")
    assert cpu_model(told) == "AMD EPYC (family 26, model 2)"


def test_other_processors() -> None:
    assert cpu_model(PI_2) == "1x Cortex-A7 (Raspberry Pi 2 Model B Rev 1.1)"
    assert cpu_features(PI_2) == ["neon"]
    assert cpu_model(RISCV) == "thead,c908"
    assert cpu_features(RISCV) == ["v", "zfh", "zba", "zbb"]
    assert cpu_model("CPU implementer: 0x61\nCPU part: 0x22\n") == "1x Arm part 0x22 of implementer 0x61"


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = capture(1, spinning=False, root=tmp_path)
    assert found.cpu_model
    assert found.cpu_features == []
    assert found.governor is None
    assert found.load_average is None
    assert found.temperature_c is None
    assert found.memory_bytes > 0
    assert platform.release() in found.os


@pytest.mark.parametrize("text", ["", "abc\n", "0\n", "-40000\n", "255000\n"])
def test_a_sensor_without_a_reading(tmp_path: Path, text: str) -> None:
    root = _tree(tmp_path, {"sys/class/thermal/thermal_zone0/temp": text})
    assert capture(1, spinning=False, root=root).temperature_c is None


@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", None), ("50000 100000", 1), ("100000 100000", 1), ("rubbish", None)]
)
def test_a_containers_quota_limits_the_cores(tmp_path: Path, quota: str, most: int | None) -> None:
    root = _tree(tmp_path, {"sys/fs/cgroup/cpu.max": quota})
    assert usable_cores(root) == (most or usable_cores(tmp_path / "empty"))


def test_this_machine() -> None:
    found = capture(2, spinning=False)
    assert found.python == platform.python_version()
    assert found.packages["onnxruntime"] == metadata.version("onnxruntime")
    assert found.packages["edgepack"] == metadata.version("edgepack")
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.memory_bytes > 2**28
    assert Environment.model_validate_json(found.model_dump_json()) == found


def test_capturing_imports_none_of_the_packages() -> None:
    code = (
        "import sys; from edgepack.runtime.environment import capture; capture(1, spinning=False);"
        "print({'torch', 'onnx', 'onnxruntime', 'numpy', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_fingerprint_changes_with_what_changes_results_only(board: Path) -> None:
    before = capture(4, spinning=False, root=board, cores=8)
    assert fingerprint(before) == fingerprint(before.model_copy())
    for change in ({"load_average": 9.0}, {"temperature_c": None}, {"memory_bytes": 1}):
        assert fingerprint(before.model_copy(update=change)) == fingerprint(before)
    changes: list[dict[str, object]] = [
        {"threads": 1},
        {"spinning": True},
        {"governor": "powersave"},
        {"cpu_model": "another"},
        {"cores": 4},
        {"cpu_features": ["asimd"]},
        {"packages": {**before.packages, "onnxruntime": "0"}},
        {"os": "another"},
        {"python": "3.10.0"},
    ]
    prints = {fingerprint(before.model_copy(update=change)) for change in changes}
    assert len(prints - {fingerprint(before)}) == len(changes)
