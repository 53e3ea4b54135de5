#!/usr/bin/env bash
# Unpacks Debian's ssh server for 64-bit ARM, which tests emulate as a device, into FOLDER.
#
#     scripts/aarch64-sshd.sh FOLDER
set -euo pipefail

folder=$1
mkdir -p "$(dirname "$folder")"
rm -rf "$folder.part"
mmdebstrap --quiet --variant=extract --architectures=arm64 --include=openssh-server,openssh-sftp-server,libc-bin \
    bookworm "$folder.part"
# Device files, where root made them: a copy of the folder must end.
rm -rf "$folder.part/dev"
test -x "$folder.part/usr/sbin/sshd"
mv "$folder.part" "$folder"
