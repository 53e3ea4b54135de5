#!/usr/bin/env bash
# Unpacks Android's debug daemon, which tests run as a device, into FOLDER with everything that it loads.
#
#     scripts/adbd.sh FOLDER
#
# Debian has had it since trixie. Older systems cannot install that package, so apt fetches it with its libraries
# and loader into lists of its own (nothing of the system's changes), and they are unpacked; FOLDER/adbd starts it.
set -euo pipefail

folder=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/parts"
: >"$work/status"
# The archive that this system is installed from has its newer releases too.
# shellcheck disable=SC2016 # apt fills these in
archive=$(apt-get indextargets --format '$(COMPONENT) $(RELEASE) $(SITE)' 'Created-By: Packages' |
    awk '$1 == "main" && $2 !~ /-/ && !found { found = 1; print $3 }')
[ -n "$archive" ] || { echo "apt names no archive of Debian's" >&2; exit 1; }
printf 'deb [signed-by=%s] %s trixie main\n' \
    /usr/share/keyrings/debian-archive-keyring.gpg "$archive" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/parts";
Dir::Etc::preferencesparts "$work/parts";
Dir::Etc::preferences "$work/none";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work";
Dir::Cache::archives "$work/archives";
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get update -qq
apt-get install -y -qq --no-install-recommends --download-only adbd >/dev/null

rm -rf "$folder.part"
mkdir -p "$folder.part"
for package in "$work"/archives/*.deb; do
    dpkg-deb -x "$package" "$folder.part"
done
# Its own loader, since its C library is newer than the system's.
cat >"$folder.part/adbd" <<'START'
#!/bin/sh
root=$(cd "$(dirname "$0")" && pwd)
loader=$(echo "$root"/usr/lib/*-linux-gnu/ld-linux-*.so.*)
libraries=$(dirname "$loader")
exec "$loader" --library-path "$libraries/android:$libraries" "$root/usr/lib/android-sdk/platform-tools/adbd" "$@"
START
chmod +x "$folder.part/adbd"
test -x "$folder.part/usr/lib/android-sdk/platform-tools/adbd"
rm -rf "$folder"
mv "$folder.part" "$folder"
