#!/bin/sh
# workspace.sh [FOLDER]: makes edgepack's folder on the device, and says where it is and what the device has.
base=${1:-${XDG_CACHE_HOME:-${HOME:?the account has no home folder}/.cache}/edgepack}
mkdir -p "$base/runs" "$base/store" || exit 1
base=$(cd "$base" && pwd -P) || exit 1
printf 'base %s\n' "$base"
printf 'system %s\n' "$(uname -s) $(uname -r) $(uname -m)"
for tool in sha256sum shasum setsid nohup flock python3 getprop; do
    if command -v "$tool" >/dev/null 2>&1; then printf 'tool %s\n' "$tool"; fi
done
