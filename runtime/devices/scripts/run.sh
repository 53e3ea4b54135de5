#!/bin/sh
# run.sh PYTHON check|measure REQUEST: runs edgepack's runner in this folder; the result is result.json beside it.
# It ends with 127 when there is no such Python, and with the runner's own code otherwise.
command -v "$1" >/dev/null 2>&1 || { echo "there is no $1 here" >&2; exit 127; }
# Fewer surprises between two runs: no thread count from outside, no bytecode left behind.
unset OMP_NUM_THREADS OMP_WAIT_POLICY KMP_AFFINITY PYTHONSTARTUP
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
# The native operators of binary layers, where they were sent along.
if [ -f libedgepack_kernels.so ]; then
    EDGEPACK_KERNELS_LIBRARY="$PWD/libedgepack_kernels.so"
    export EDGEPACK_KERNELS_LIBRARY
fi
exec "$1" runner.pyz "$2" "$3"
