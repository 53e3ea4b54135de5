#!/usr/bin/env bash
# Fetches the wheels that the tests' emulated board runs, ONNX Runtime and numpy for 64-bit ARM, into FOLDER: of the
# versions that PYTHON (python3 unless set) has, so that outputs compare.
#
#     PYTHON=.venv/bin/python scripts/aarch64-wheels.sh FOLDER
set -euo pipefail

folder=$1
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wanted=$("$python" -c 'from importlib.metadata import version
print(*(f"{name}=={version(name)}" for name in ("onnxruntime", "numpy")))')
# shellcheck disable=SC2086
"$python" -m pip download --quiet --platform manylinux_2_28_aarch64 --python-version 3.11 --only-binary=:all: \
    --no-deps --dest "$work" $wanted
mkdir -p "$folder"
cp "$work"/*.whl "$folder"
