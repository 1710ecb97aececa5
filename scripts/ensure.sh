#!/bin/sh
# Install the Debian packages of the programs that are missing. Arguments: program:package …
# As root or with a password-free sudo by apt-get; else one line says what to install.
set -eu
missing=
for need in "$@"; do
    command -v "${need%%:*}" >/dev/null || missing="$missing ${need#*:}"
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || {
    echo "gdbstub: missing programs; install what your system calls$missing" >&2
    exit 1
}
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    how="as root: apt-get"
    ! command -v sudo >/dev/null || how="sudo apt-get"
    echo "gdbstub: missing programs; $how install$missing" >&2
    exit 1
fi
echo "gdbstub: installing Debian packages (up to two minutes):$missing" >&2
# A package list that is old may name versions that are gone, so a failure is tried again.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# On a terminal apt-get shows how far it is; elsewhere its last lines are shown if it fails.
place=$log
[ ! -t 2 ] || place=/dev/stderr
install() {
    # shellcheck disable=SC2086 # both are lists of words
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y --no-install-recommends $missing \
        >"$place" 2>&1
}
install || { $as_root apt-get update >"$log" 2>&1 && install; } || {
    tail -n 5 "$log" >&2
    echo "gdbstub: apt-get install$missing failed" >&2
    exit 1
}
