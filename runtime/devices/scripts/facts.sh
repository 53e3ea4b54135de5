#!/bin/sh
# facts.sh ROOT PATTERN...: prints those files below ROOT that there are, each behind a line of the character 036 and
# its name; of a folder the name alone. A sensor that cannot be read is empty.
cd "${1%/}/" || exit 1
shift
IFS=
for pattern in "$@"; do
    # shellcheck disable=SC2086
    for file in $pattern; do
        [ -e "$file" ] || continue
        printf '\036%s\n' "$file"
        [ -d "$file" ] || cat "$file" 2>/dev/null || true
    done
done
