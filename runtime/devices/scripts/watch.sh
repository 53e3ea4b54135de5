#!/bin/sh
# watch.sh BASE RUN SECONDS [TURN]: waits until the run is done or gone, for about so many seconds, and says which.
#
# Without TURN, a turn is a fifth of a second, so that a short run is noticed at once; from 25 on it is a second.
# Waiting here, and not by asking again and again, leaves the device in peace while it measures.
folder=$(folder_of "$1" "$2") || exit 1
turn=${4:-0}
last=$((turn < 25 ? $3 * 5 : $3 + turn))
while :; do
    if [ -f "$folder/done" ]; then
        printf 'done '
        cat "$folder/done"
        break
    fi
    if [ ! -d "$folder/started" ]; then
        echo absent
        break
    fi
    if [ -f "$folder/pid" ]; then
        # Between the two looks it may have come to its end.
        if ! alive "$folder/pid" && [ ! -f "$folder/done" ]; then
            echo gone
            break
        fi
    elif [ "$turn" -ge 35 ]; then
        echo gone # it could not even write its number
        break
    fi
    if [ "$turn" -ge "$last" ]; then
        cat "$folder/state" 2>/dev/null || echo running
        break
    fi
    # A long run costs the device one small process a second.
    if [ "$turn" -lt 25 ]; then sleep 0.2 2>/dev/null || sleep 1; else sleep 1; fi
    turn=$((turn + 1))
done
printf 'progress %s\n' "$(tail -n 1 "$folder/progress" 2>/dev/null)"
printf 'free %s\n' "$(df -Pk "$folder" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)"
tail -c 2000 "$folder/stderr" 2>/dev/null
tail -c 500 "$folder/job.log" 2>/dev/null
exit 0
