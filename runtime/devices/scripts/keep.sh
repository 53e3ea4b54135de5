#!/bin/sh
# keep.sh BASE RUN FILE HASH: takes a file that arrived in the run's folder into the store, if it is what it should be.
folder=$(folder_of "$1" "$2") || exit 1
found=$(sha256_of "$folder/$3") || { echo "no tool for SHA-256" >&2; exit 3; }
if [ "$found" != "$4" ]; then
    printf 'arrived %s\n' "$found"
    exit 2
fi
mv -f "$folder/$3" "$1/store/$4"
