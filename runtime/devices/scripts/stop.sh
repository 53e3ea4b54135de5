#!/bin/sh
# stop.sh BASE RUN: ends a run with all of its processes, if it still runs.
folder=$(folder_of "$1" "$2") || exit 1
if [ -f "$folder/pid" ] && alive "$folder/pid"; then
    read -r number _ <"$folder/pid"
    # The group where job.sh leads one (setsid), else the process alone. dash's kill knows no "--".
    kill -KILL "-$number" 2>/dev/null || kill -KILL "$number"
fi
