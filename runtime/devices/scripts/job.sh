#!/bin/sh
# job.sh BASE RUN NONCE WORD...: runs a command in the run's folder, one run on the device at a time.
#
# pid     "number start" of this process          state   waiting, then running
# stdout, stderr   of the command                 done    "NONCE code SHA-256 of result.json"
#
# done comes last and by a rename: who finds it finds all of it. Whatever kept it from being written (a full
# disk, a kill, an empty battery) leaves a run that is not done.
base=$1
folder=$(folder_of "$1" "$2") || exit 1
cd "$folder" || exit 1
nonce=$3
shift 3
printf '%s %s\n' "$$" "$(start_of "$$")" >pid.part && mv pid.part pid || exit 1
if command -v flock >/dev/null 2>&1; then
    exec 9>>"$base/lock"
    if ! flock -n 9; then
        echo waiting >state
        flock 9
    fi
fi
echo running >state
"$@" >stdout 2>stderr </dev/null
code=$?
sum=none
if [ -f result.json ]; then sum=$(sha256_of result.json) || sum=none; fi
printf '%s %s %s\n' "$nonce" "$code" "$sum" >done.part && mv done.part 'done'
