#!/bin/sh
# held.sh BASE HASH...: prints those hashes whose files are on the device and sound.
base=$1
shift
for hash in "$@"; do
    if [ -f "$base/store/$hash" ] && [ "$(sha256_of "$base/store/$hash")" = "$hash" ]; then
        printf '%s\n' "$hash"
    fi
done
