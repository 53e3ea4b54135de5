#!/bin/sh
# emulate.sh PROGRAM WORD...: runs a program of an emulated board: $EDGEPACK_QEMU plays the processor $EDGEPACK_CPU
# and finds libraries, /proc and /sys below $EDGEPACK_USERLAND.
#
# `PROGRAM count ...` counts instructions, with everything that could differ from run to run fixed: an environment
# of one variable, the random numbers that the kernel hands over, and addresses, where the system allows that.
if [ "${2-}" != count ]; then
    exec "$EDGEPACK_QEMU" -cpu "$EDGEPACK_CPU" -L "$EDGEPACK_USERLAND" "$@"
fi
set -- "$EDGEPACK_QEMU" -cpu "$EDGEPACK_CPU" -seed 1 -L "$EDGEPACK_USERLAND" -plugin "$EDGEPACK_PLUGIN" "$@"
if setarch -R true 2>/dev/null; then
    set -- setarch -R "$@"
fi
exec env -i "PATH=$PATH" "$@"
