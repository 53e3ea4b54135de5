#!/bin/sh
# keep.sh BASE RUN FILE HASH [NAME]: takes a file that arrived in the run's folder, if it is what it should be,
# into the store; with NAME, it stays in the run's folder under that name.
folder=$(folder_of "$1" "$2") || exit 1
found=$(sha256_of "$folder/$3") || { echo "no tool for SHA-256" >&2; exit 3; }
if [ "$found" != "$4" ]; then
    printf 'arrived %s\n' "$found"
    exit 2
fi
if [ -z "${5-}" ]; then
    mv -f "$folder/$3" "$1/store/$4"
    exit
fi
name_inside "$5" || exit 1
case "$5" in
    */*) mkdir -p "$folder/${5%/*}" || exit 1 ;;
esac
mv -f "$folder/$3" "$folder/$5"
