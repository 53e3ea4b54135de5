#!/usr/bin/env bash
# Unpacks Debian's Python for 64-bit ARM, which the tests' emulated board runs, into FOLDER, by edgepack's own code.
#
#     PYTHON=.venv/bin/python scripts/aarch64-debian.sh FOLDER
set -euo pipefail

folder=$1
mkdir -p "$(dirname "$folder")"
rm -rf "$folder.part"
"${PYTHON:-python3}" -c 'import pathlib, sys
from edgepack.runtime.devices.board.userland import of_debian
of_debian(pathlib.Path(sys.argv[1]))' "$folder.part"
mv "$folder.part" "$folder"
