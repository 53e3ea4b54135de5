"""An emulated board: a 64-bit ARM processor with ONNX Runtime, for tests and for who has no hardware.

    emulator.py    QEMU's user mode: which one, what it can do, and the processors that it plays
    userland.py    the C library, and where it is wanted Python, that the emulated programs need
    packages.py    ONNX Runtime, out of the wheel for 64-bit ARM
    tree.py        the /proc and /sys of the board
    counting.py    the plugin that counts instructions, and what it leaves
    making.py      create
    boards.py      start, stop, remove, list

The programs are those of a real board; the processor is not, and so no time means anything there. What is true
of it all the same are the outputs, and the number of instructions.
"""
