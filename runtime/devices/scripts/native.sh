#!/bin/sh
# native.sh check|measure|count: runs edgepack's runner without Python in this folder; its result is result.json, which
# names every file that it left with its SHA-256. Each line of the file `hashes` is a SHA-256 and the name of a file
# that was sent; they are compared before any of them is opened.
while read -r hash name; do
    [ "$(sha256_of "$name")" = "$hash" ] || { echo "The file $name on the device is not the one that was sent" >&2; exit 1; }
done <hashes
chmod 700 edgepack_runner
# Fewer surprises between two runs: no thread count and no library from outside.
unset OMP_NUM_THREADS OMP_WAIT_POLICY KMP_AFFINITY LD_PRELOAD
${EDGEPACK_EMULATOR:+"$EDGEPACK_EMULATOR"} ./edgepack_runner "$1" request.bin || exit
{
    printf '{"files": {'
    comma=
    for file in answer.json outputs-*.bin samples-*.f64 counts.txt; do
        [ -f "$file" ] || continue
        printf '%s"%s": "%s"' "$comma" "$file" "$(sha256_of "$file")"
        comma=', '
    done
    printf '}}\n'
} >result.part && mv result.part result.json
