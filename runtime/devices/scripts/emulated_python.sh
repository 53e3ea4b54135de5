#!/bin/sh
# emulated_python.sh WORD...: the Python of an emulated board.
PYTHONHOME=$EDGEPACK_USERLAND/usr
PYTHONPATH=$EDGEPACK_PACKAGES
export PYTHONHOME PYTHONPATH
exec "$EDGEPACK_EMULATOR" "$EDGEPACK_PYTHON" "$@"
