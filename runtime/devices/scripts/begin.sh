#!/bin/sh
# begin.sh BASE RUN: makes the folder of a run, which must not be there.
folder=$(folder_of "$1" "$2") && mkdir "$folder"
