#!/bin/sh
# android.sh: what Android's services know and its /sys keeps from a shell, a fact a line: the thermal status (0 none to
# 6 shutdown), what powers the device, and the battery's level (%), temperature (tenths of a degree) and voltage (mV).
command -v dumpsys >/dev/null 2>&1 || exit 0
{
    dumpsys thermalservice
    dumpsys battery
} 2>/dev/null | while IFS=: read -r key value; do
    # Blanks around both are dropped.
    key=${key#"${key%%[! ]*}"}
    value=${value#"${value%%[! ]*}"}
    case "$key=$value" in
        'Thermal Status='*) printf 'thermal %s\n' "$value" ;;
        *' powered=true'*) printf 'powered %s\n' "${key% powered}" ;;
        level=* | temperature=* | voltage=*) printf '%s %s\n' "$key" "$value" ;;
    esac
done
