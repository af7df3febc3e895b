#!/bin/sh
# Checks the unit file and its drop-ins with systemd's own tool, and that no profile is more exposed than is promised.
# The program need not be installed where the unit expects it.
set -eu
command -v systemd-analyze >/dev/null || { echo "Skipping the unit file: systemd-analyze is not here"; exit 0; }
echo "Checking the unit file ..."
here=$(dirname "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# check PROFILE TENTHS DROP-IN ...: the unit with these drop-ins is understood, and exposed to TENTHS/10 at most
check() {
    profile=$1 most=$2
    shift 2
    unit=$folder/$profile/presaged.service
    mkdir -p "$unit.d"
    sed 's#^ExecStart=.*#ExecStart=/bin/true#' "$here/presaged.service" >"$unit"
    for name in "$@"; do cp "$here/drop-ins/$name.conf" "$unit.d"; done
    said=$(systemd-analyze verify --man=no "$unit" 2>&1) || { echo "$said" >&2; exit 1; }
    # an unknown key is only warned of; what it says of other units of this host is not ours
    if echo "$said" | grep -F "$folder" >&2; then exit 1; fi
    # older ones do not look at files; --threshold, in whole numbers, is no help: it is compared with ten times the figure
    said=$(systemd-analyze security --offline=true --no-pager --threshold="$most" "$unit" 2>&1) || {
        case $said in
            *"Overall exposure"*) ;;
            *) echo "Skipping the exposure: this systemd-analyze cannot tell it of a file"; return ;;
        esac
        echo "$said" >&2
        echo "systemd/: the profile $profile is more exposed than $most tenths" >&2
        exit 1
    }
    echo "  $profile: $(echo "$said" | sed -n 's/.*Overall exposure level for [^:]*: *\([0-9.]*\).*/exposure \1/p')"
}

check standard 13
check localhost 12 localhost
check minimal 9 minimal
check full 22 full
check jit 13 jit
check credentials 13 credentials
