#!/bin/sh
# prepare.sh [HOTTEST_C [SECONDS]]: makes a device ready for measuring, as far as this account may, and prints a word
# for everything that it changed: restore.sh takes them back. By hand, on the device:
#
#     sh prepare.sh >changed; sh run.sh python3 measure request.json; sh restore.sh $(cat changed)
#
# Changed: the cores' governors to "performance" (root only), Android's fixed performance mode (Android 11 and
# later). Waited for: sensors of at most HOTTEST_C degrees, SECONDS at most. Only told, on standard error: what a
# person has to do. EDGEPACK_ROOT stands for / in tests.
root=${EDGEPACK_ROOT-}
for file in "$root"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do
    [ -r "$file" ] || continue
    old=$(cat "$file")
    [ "$old" = performance ] && continue
    cpu=${file#"$root"/sys/devices/system/cpu/}
    if [ -w "$file" ] && (echo performance >"$file") 2>/dev/null && [ "$(cat "$file")" = performance ]; then
        printf '%s=%s\n' "${cpu%%/*}" "$old"
    else
        echo "${cpu%%/*} keeps its governor $old: only root may change it" >&2
    fi
done

if command -v settings >/dev/null 2>&1 && command -v dumpsys >/dev/null 2>&1; then
    if cmd power set-fixed-performance-mode-enabled true >/dev/null 2>&1; then
        echo fixed-performance-mode
    else
        echo "this Android has no fixed performance mode (it came with Android 11)" >&2
    fi
    [ "$(settings get global airplane_mode_on 2>/dev/null)" = 1 ] || echo "airplane mode is off: radios take power and time" >&2
    dumpsys power 2>/dev/null | grep -q 'mWakefulness=Awake' || echo "the screen is off: the system may slow the cores down" >&2
    dumpsys battery 2>/dev/null | grep -q 'powered: true' && echo "it is charging: power readings say nothing, and it is warmer" >&2
    dumpsys thermalservice 2>/dev/null | grep -i 'thermal status' | head -n 1 >&2
fi

hottest() {
    most=0
    for file in "$root"/sys/class/thermal/thermal_zone*/temp; do
        now=$(cat "$file" 2>/dev/null) || continue
        case "$now" in
            '' | *[!0-9]*) continue ;;
        esac
        # Sensors that are switched off report nonsense.
        if [ "$now" -gt "$most" ] && [ "$now" -lt 150000 ]; then most=$now; fi
    done
    echo "$((most / 1000))"
}
if [ -n "${1-}" ]; then
    waited=0
    while [ "$(hottest)" -gt "$1" ] && [ "$waited" -lt "${2:-300}" ]; do
        sleep 5
        waited=$((waited + 5))
    done
    [ "$(hottest)" -le "$1" ] || echo "after $waited s the hottest sensor still has $(hottest) degrees" >&2
fi
exit 0
