#!/bin/sh
# tool.sh COUNT PROGRAM WORD...: runs a runtime's own tool COUNT times in this folder, where it finds its inputs for the
# turn N as in-N-*.bin under the names in-*.bin. Of each turn its words are left as log-N.txt and its files out-*.bin
# as out-N-*.bin; result.json names them with their SHA-256, and the exit code of the turn that failed.
count=$1
shift
while read -r hash name; do
    [ "$(sha256_of "$name")" = "$hash" ] || { echo "The file $name on the device is not the one that was sent" >&2; exit 1; }
done <hashes
chmod 700 "$1"
unset OMP_NUM_THREADS OMP_WAIT_POLICY KMP_AFFINITY LD_PRELOAD
turn=0
code=0
while [ "$turn" -lt "$count" ] && [ "$code" -eq 0 ]; do
    for file in "in-$turn-"*.bin; do
        [ -f "$file" ] && cp "$file" "in-${file#"in-$turn-"}"
    done
    "$@" >"log-$turn.txt" 2>&1 || code=$?
    for file in out-*.bin; do
        case "$file" in
            out-[0-9]*-[0-9]*.bin | 'out-*.bin') ;;
            *) mv "$file" "out-$turn-${file#out-}" ;;
        esac
    done
    turn=$((turn + 1))
done
{
    printf '{"code": %s, "files": {' "$code"
    comma=
    for file in log-*.txt out-*-*.bin; do
        [ -f "$file" ] || continue
        printf '%s"%s": "%s"' "$comma" "$file" "$(sha256_of "$file")"
        comma=', '
    done
    printf '}}\n'
} >result.part && mv result.part result.json
