#!/bin/sh
# restore.sh WORD...: takes back what prepare.sh changed; the words are those that it printed.
root=${EDGEPACK_ROOT-}
failed=0
for word in "$@"; do
    case "$word" in
        fixed-performance-mode) cmd power set-fixed-performance-mode-enabled false >/dev/null 2>&1 || failed=1 ;;
        *[!a-z0-9_=]* | *=*=*) echo "not a word of prepare.sh: $word" >&2; failed=1 ;;
        cpu[0-9]*=?*)
            file="$root/sys/devices/system/cpu/${word%%=*}/cpufreq/scaling_governor"
            { echo "${word#*=}" >"$file"; } 2>/dev/null || { echo "cannot set ${word%%=*} back to ${word#*=}" >&2; failed=1; }
            ;;
        *) echo "not a word of prepare.sh: $word" >&2; failed=1 ;;
    esac
done
exit "$failed"
