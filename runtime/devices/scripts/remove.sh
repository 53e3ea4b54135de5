#!/bin/sh
# remove.sh BASE RUN: removes the folder of a run, and nothing else.
folder=$(folder_of "$1" "$2") || exit 1
rm -rf "$folder"
[ ! -e "$folder" ]
