#!/bin/sh
# keep.sh BASE RUN FILE HASH NAME...: takes a file that arrived in the run's folder, if it is what it should be, into
# the store, and puts it into the run's folder under these names.
base=$1
hash=$4
folder=$(folder_of "$1" "$2") || exit 1
arrived_whole "$folder/$3" "$hash" || exit
mv -f "$folder/$3" "$base/store/$hash" || exit 1
shift 4
for name in "$@"; do
    put_under "$base" "$hash" "$folder" "$name" || exit 1
done
