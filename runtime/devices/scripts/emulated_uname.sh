#!/bin/sh
# emulated_uname.sh -s|-r|-m: what a program on an emulated board is told. The kernel is this machine's, the
# processor is the board's.
case "${1-}" in
    -m) echo aarch64 ;;
    -r) cat /proc/sys/kernel/osrelease ;;
    *) echo Linux ;;
esac
