#!/bin/sh
# start.sh BASE RUN NONCE JOB WORD...: starts job.sh (its text is JOB) apart from this connection, once.
# A second call for the same run starts nothing, so that it may be asked again after a broken link.
folder=$(folder_of "$1" "$2") || exit 1
job=$4
base=$1 run=$2 nonce=$3
shift 4
mkdir "$folder/started" 2>/dev/null || { [ -d "$folder/started" ] && exit 0; exit 1; }
if command -v setsid >/dev/null 2>&1; then
    setsid sh -c "$job" job "$base" "$run" "$nonce" "$@" </dev/null >/dev/null 2>"$folder/job.log" &
else
    nohup sh -c "$job" job "$base" "$run" "$nonce" "$@" </dev/null >/dev/null 2>"$folder/job.log" &
fi
