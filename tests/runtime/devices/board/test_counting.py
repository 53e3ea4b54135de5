"""Instructions of a program whose instructions are known, and what its marks are worth."""

from __future__ import annotations

import subprocess

import pytest

from edgepack.runtime.devices.board import counting, emulator
from edgepack.runtime.devices.board.counting import Counts
from edgepack.toolchain.errors import DeviceError

# Six instructions a turn: two dot products among three of vectors, a load, and two that count the turns.
PROGRAM = """
#include <sys/prctl.h>
static void turn(unsigned long turns) {
  __asm__ volatile(
      ".arch armv8.2-a+dotprod\\n"
      "1: sdot v0.4s, v1.16b, v2.16b\\n udot v0.4s, v1.16b, v2.4b[3]\\n ldr q3, [sp]\\n"
      "fadd v4.4s, v4.4s, v4.4s\\n subs %0, %0, #1\\n b.ne 1b\\n"
      : "+r"(turns)::"v0", "v3", "v4", "memory", "cc");
}
int main(void) {
  prctl(0x65706b6d, 0); prctl(0x65706b6d, 0);
  for (int i = 0; i < 2; ++i) { prctl(0x65706b6d, 1); turn(1000); prctl(0x65706b6d, 1); }
  prctl(0x65706b6d, 2); turn(3000); prctl(0x65706b6d, 2);
  return 0;
}
"""


@pytest.mark.system("g++-aarch64-linux-gnu", "qemu-user", "aarch64-wheels")
def test_every_instruction_is_counted(board, tmp_path):
    found = emulator.find()
    plugin, why = counting.plugin(found, board.root)
    assert plugin is not None, why
    (tmp_path / "program.cpp").write_text(PROGRAM)
    compiler = ["aarch64-linux-gnu-g++", "-O2", "-o", "program", "program.cpp"]
    subprocess.run(compiler, cwd=tmp_path, check=True)
    command = [found.path, "-cpu", board.processor, "-L", board.root, "-plugin", plugin, "./program"]
    subprocess.run(command, cwd=tmp_path, check=True)
    first, second = counting.read((tmp_path / counting.FILE).read_text(), [2, 1])
    assert first[0] == first[1]
    short, long = first[0], second[0]
    assert long - short == Counts(6 * 2000, 2 * 2000, 3 * 2000, 2000)
    # A few more or less set up the turns and the marks.
    assert abs(short.instructions - 6000) < 10
    assert (short.dot_products, short.vectors, short.memory) == (2000, 3000, 1000)


def test_why_nothing_is_counted(board, monkeypatch):
    """A QEMU without plugins, and a plugin that it will not have: a reason, never a count."""
    found = emulator.find()
    none = emulator.Emulator(found.path, found.version, plugins=False)
    plugin, why = counting.plugin(none, board.root)
    assert plugin is None
    assert "takes no plugins" in why
    if not found.plugins:
        pytest.skip("missing system package: qemu-user (scripts/system-packages.sh installs it)")
    monkeypatch.setattr(counting, "_INTERFACES", (999,))
    plugin, why = counting.plugin(found, board.root)
    assert plugin is None
    assert "does not load the plugin" in why
    assert "999" in why


def line(number, value):
    return f"{number} {value} 1 2 3\n"


def test_marks():
    """Their own cost is taken off; the median of each class is the cost."""
    text = "".join(map(line, (0, 0, 1, 1, 1, 1, 1, 1), (10, 17, 20, 127, 200, 308, 400, 507)))
    (costs,) = counting.read(text, [3])
    assert [one.instructions for one in costs] == [100, 101, 100]
    assert counting.typical(costs) == Counts(100, 0, 0, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        line(0, 1),
        "".join(map(line, (0, 0, 1), (1, 2, 3))),
        "".join(map(line, (0, 0, 1, 2), (1, 2, 3, 4))),
        "0 1 2\n" * 4,
        "0 a b c d\n",
    ],
)
def test_marks_that_are_none(text):
    with pytest.raises(DeviceError, match=r"counts cannot be read|counted \d+ marks"):
        counting.read(text, [1])
