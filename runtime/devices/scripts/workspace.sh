#!/bin/sh
# workspace.sh FOLDER OWNER: makes edgepack's folder on the device, and says where it is and what the device has.
#
# Runs that OWNER began are ended and removed: one process at a time uses a device as OWNER, and whoever asks now is
# that process, so that those before it are dead.
base=${1:-${XDG_CACHE_HOME:-${HOME:?the account has no home folder}/.cache}/edgepack}
mkdir -p "$base/runs" "$base/store" || exit 1
base=$(cd "$base" && pwd -P) || exit 1
printf 'base %s\n' "$base"
printf 'system %s\n' "$(uname -s) $(uname -r) $(uname -m)"
for tool in sha256sum shasum setsid nohup flock python3 getprop dumpsys; do
    if command -v "$tool" >/dev/null 2>&1; then printf 'tool %s\n' "$tool"; fi
done
for file in "$base"/runs/*/owner; do
    [ "$(cat "$file" 2>/dev/null || echo nobody)" = "$2" ] || continue
    run=${file#"$base/runs/"}
    folder=$(folder_of "$base" "${run%/owner}") || continue
    end_of "$folder"
    rm -rf "$folder"
    printf 'removed %s\n' "${run%/owner}"
done
