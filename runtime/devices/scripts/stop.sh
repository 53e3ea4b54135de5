#!/bin/sh
# stop.sh BASE RUN: ends a run with all of its processes, if it still runs.
folder=$(folder_of "$1" "$2") || exit 1
end_of "$folder"
