#!/usr/bin/env bash
# Installs the system packages that some tests need, where that is possible (root and apt-get); elsewhere
# it says what is missing and goes on: those tests are skipped, and in CI (CI=true) they fail.
#
#     scripts/system-packages.sh chromium dataset-fashion-mnist [PACKAGE ...]
#
# adbd is of a newer Debian than may be installed here: it is unpacked into a folder of its own (adbd.sh).
# aarch64-wheels, aarch64-debian and aarch64-sshd are no packages: ONNX Runtime, a Python and an ssh server for 64-bit
# ARM, in folders of their own (scripts of those names), the last two by mmdebstrap.
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
adbd=/var/cache/edgepack-tests/adbd
wheels=/var/cache/edgepack-tests/aarch64-wheels
debian=/var/cache/edgepack-tests/aarch64-debian
sshd=/var/cache/edgepack-tests/aarch64-sshd

present() {
    case "$1" in
        chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
        g++-aarch64-linux-gnu) command -v aarch64-linux-gnu-g++ ;;
        qemu-user-static) command -v qemu-aarch64-static || command -v qemu-aarch64 ;;
        dataset-fashion-mnist) test -d /usr/share/datasets/fashion-mnist ;;
        openssh-server) test -x /usr/sbin/sshd ;;
        adbd) test -x "$adbd/adbd" ;;
        aarch64-wheels) ls "$wheels"/onnxruntime-*aarch64.whl ;;
        aarch64-debian) test -d "$debian" ;;
        aarch64-sshd) test -d "$sshd" ;;
        qemu-user) command -v qemu-aarch64 ;;
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

install() {
    local packages=()
    for package in "${missing[@]}"; do
        case "$package" in
            adbd | aarch64-*) ;;
            *) packages+=("$package") ;;
        esac
    done
    if [ ${#packages[@]} -gt 0 ]; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null || return
    fi
    if ! present adbd && [[ " ${missing[*]} " == *" adbd "* ]]; then
        mkdir -p "$(dirname "$adbd")" && "$here/adbd.sh" "$adbd" || return
    fi
    if ! present aarch64-wheels && [[ " ${missing[*]} " == *" aarch64-wheels "* ]]; then
        "$here/aarch64-wheels.sh" "$wheels" || return
    fi
    if ! present aarch64-debian && [[ " ${missing[*]} " == *" aarch64-debian "* ]]; then
        "$here/aarch64-debian.sh" "$debian" || return
    fi
    if ! present aarch64-sshd && [[ " ${missing[*]} " == *" aarch64-sshd "* ]]; then
        "$here/aarch64-sshd.sh" "$sshd"
    fi
}

# With this runlevel no package's service is started: tests start servers of their own, on loopback.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
for attempt in 1 2 3; do
    if install; then
        exit 0
    fi
    echo "apt-get failed (attempt $attempt of 3)" >&2
done
echo "Could not install: ${missing[*]}. Their tests are skipped, or fail in CI." >&2
