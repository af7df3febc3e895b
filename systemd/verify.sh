#!/bin/sh
# Checks the unit file and its drop-in with systemd's own tool. The program need not be installed where the unit expects it.
set -eu
command -v systemd-analyze >/dev/null || { echo "Skipping the unit file: systemd-analyze is not here"; exit 0; }
echo "Checking the unit file ..."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -r "$(dirname "$0")/presaged.service.d" "$folder"
sed 's#^ExecStart=.*#ExecStart=/bin/true#' "$(dirname "$0")/presaged.service" >"$folder/presaged.service"
said=$(systemd-analyze verify --man=no "$folder/presaged.service" 2>&1) || { echo "$said" >&2; exit 1; }
# an unknown key is only warned of; what it says of other units of this host is not ours
if echo "$said" | grep -F "$folder" >&2; then exit 1; fi
