#!/bin/sh
# place.sh BASE RUN (HASH NAME)...: puts files of the store into the run's folder, under their names; prints the hash
# of each that is not on the device, or is damaged there.
base=$1
folder=$(folder_of "$1" "$2") || exit 1
shift 2
while [ $# -ge 2 ]; do
    if [ -f "$base/store/$1" ] && [ "$(sha256_of "$base/store/$1")" = "$1" ]; then
        put_under "$base" "$1" "$folder" "$2" || exit 1
    else
        name_inside "$2" || exit 1
        printf '%s\n' "$1"
    fi
    shift 2
done
