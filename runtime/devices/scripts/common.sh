#!/bin/sh
# What the scripts here share. It is put in front of each of them; POSIX sh, for dash, busybox, mksh and toybox.
umask 077

# SHA-256 of a file, in hexadecimal; fails where there is no tool for it. openssl comes first: it uses the processor's
# own instructions, with which it is several times faster than most others.
sha256_of() {
    if command -v openssl >/dev/null 2>&1; then
        openssl_said=$(openssl dgst -sha256 -r <"$1" 2>/dev/null)
        openssl_said=${openssl_said%% *}
        case "$openssl_said" in
            '' | *[!0-9a-f]*) ;;
            *) [ "${#openssl_said}" -ne 64 ] || { printf '%s\n' "$openssl_said"; return; } ;;
        esac
    fi
    if command -v sha256sum >/dev/null 2>&1; then
        set -- "$(sha256sum <"$1")"
    elif command -v shasum >/dev/null 2>&1; then
        set -- "$(shasum -a 256 <"$1")"
    else
        return 1
    fi
    printf '%s\n' "${1%% *}"
}

# When a process began, in the kernel's ticks: tells it from a later one of the same number. One that ended and
# that nobody asked after yet (a zombie) is "ended".
start_of() {
    begun=$(cat "/proc/$1/stat" 2>/dev/null) || { echo -; return; }
    # The name stands in parentheses and may hold anything; field 22 is the twentieth behind it.
    # shellcheck disable=SC2086
    set -- ${begun##*)}
    case "$1" in
        Z | X) echo ended ;;
        *) echo "${20}" ;;
    esac
}

# Whether the process of a file "pid start" still lives.
alive() {
    read -r number begun_then <"$1" 2>/dev/null || return 1
    kill -0 "$number" 2>/dev/null || [ -d "/proc/$number" ] || return 1
    [ "$begun_then" = - ] || [ "$(start_of "$number")" = "$begun_then" ]
}

# Ends the run in a folder with all of its processes, if it still runs.
end_of() {
    if [ -f "$1/pid" ] && alive "$1/pid"; then
        read -r number _ <"$1/pid"
        # The group where job.sh leads one (setsid), else the process alone. dash's kill knows no "--".
        kill -KILL "-$number" 2>/dev/null || kill -KILL "$number"
    fi
}

# A run's folder: $1 is edgepack's, $2 the run's number. Nothing else is ever removed.
folder_of() {
    case "$2" in
        '' | *[!0-9a-f-]*) echo "not a run's number: $2" >&2; return 1 ;;
    esac
    printf '%s/runs/%s\n' "$1" "$2"
}

# Whether a name stays inside the folder that it is put into.
name_inside() {
    case "/$1/" in
        *//* | */../* | */./*) echo "not a name inside the run's folder: $1" >&2; return 1 ;;
    esac
}

# Puts a file of the store into a run's folder: $1 is edgepack's, $2 the hash, $3 the run's, $4 the name there.
# A hard link costs nothing; where the system forbids it, a copy. No symbolic link: ONNX Runtime refuses
# weights that lie outside of the model's folder.
put_under() {
    name_inside "$4" || return 1
    case "$4" in
        */*) mkdir -p "$3/${4%/*}" || return 1 ;;
    esac
    ln "$1/store/$2" "$3/$4" 2>/dev/null || cp "$1/store/$2" "$3/$4"
}

# Whether a file that arrived is what it should be: $1 is the file, $2 its hash. 2: it is another one, 3: who knows?
arrived_whole() {
    arrived=$(sha256_of "$1") || { echo "no tool for SHA-256" >&2; return 3; }
    [ "$arrived" = "$2" ] || { printf 'arrived %s\n' "$arrived"; return 2; }
}
