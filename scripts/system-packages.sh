#!/usr/bin/env bash
# Installs the system packages that some tests need, where that is possible (root and apt-get); elsewhere
# it says what is missing and goes on: those tests are skipped, and in CI (CI=true) they fail.
#
#     scripts/system-packages.sh chromium dataset-fashion-mnist [PACKAGE ...]
set -euo pipefail

present() {
    case "$1" in
        chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
        g++-aarch64-linux-gnu) command -v aarch64-linux-gnu-g++ ;;
        qemu-user-static) command -v qemu-aarch64-static || command -v qemu-aarch64 ;;
        dataset-fashion-mnist) test -d /usr/share/datasets/fashion-mnist ;;
        *) command -v "$1" || dpkg -s "$1" ;;
    esac >/dev/null 2>&1
}

missing=()
for package in "$@"; do
    present "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing system packages: ${missing[*]}. Their tests are skipped; install them with your package manager." >&2
    exit 0
fi

export DEBIAN_FRONTEND=noninteractive
for attempt in 1 2 3; do
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null; then
        exit 0
    fi
    echo "apt-get failed (attempt $attempt of 3)" >&2
done
echo "Could not install: ${missing[*]}. Their tests are skipped, or fail in CI." >&2
