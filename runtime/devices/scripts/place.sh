#!/bin/sh
# place.sh BASE RUN (HASH NAME)...: puts files of the store into the run's folder, under their names.
# A hard link costs nothing; where the system forbids it, a copy. No symbolic link: ONNX Runtime refuses
# weights that lie outside of the model's folder.
base=$1
folder=$(folder_of "$1" "$2") || exit 1
shift 2
while [ $# -ge 2 ]; do
    name_inside "$2" || exit 1
    case "$2" in
        */*) mkdir -p "$folder/${2%/*}" || exit 1 ;;
    esac
    ln "$base/store/$1" "$folder/$2" 2>/dev/null || cp "$base/store/$1" "$folder/$2" || exit 1
    shift 2
done
