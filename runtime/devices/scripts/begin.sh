#!/bin/sh
# begin.sh BASE RUN OWNER: makes the folder of a run, which must not be there; OWNER may remove it (workspace.sh).
folder=$(folder_of "$1" "$2") && mkdir "$folder" || exit 1
printf '%s\n' "$3" >"$folder/owner" || { rm -rf "$folder"; exit 1; }
