#!/bin/sh
# own.sh BASE RUN FILE HASH NAME: gives a file that arrived in the run's folder, if it is what it should be, its name
# there. It goes with the run.
folder=$(folder_of "$1" "$2") || exit 1
name_inside "$5" || exit 1
arrived_whole "$folder/$3" "$4" || exit
case "$5" in
    */*) mkdir -p "$folder/${5%/*}" || exit 1 ;;
esac
mv -f "$folder/$3" "$folder/$5"
