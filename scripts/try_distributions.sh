#!/bin/sh
# Install each distribution of a directory into a bare environment, and run what a new user runs.
# Argument: the directory. Another Python than python3: PYTHON=python3.13.
set -eu
python=${PYTHON:-python3}
for file in "$1"/*.whl "$1"/*.tar.gz; do
    [ -e "$file" ] || continue # no file of this kind
    place=$(mktemp -d)
    "$python" -m venv "$place"
    "$place/bin/pip" install --quiet --disable-pip-version-check "$file"
    (
        cd "$place" # so that no checkout is in the way
        bin/gdbstub --version | grep ', commit '
        bin/gdbstub run --help | grep -q '^Usage: gdbstub run'
        bin/gdbstub doctor || [ $? = 1 ] # 1: no guest can be run on this machine
        bin/gdbstub run /nonexistent 2>&1 | grep -x 'gdbstub: /nonexistent: No such file or directory'
        test -f share/man/man1/gdbstub-run.1
        bash -c '. share/bash-completion/completions/gdbstub; complete -p gdbstub' >/dev/null
    )
    rm -rf "$place"
    echo "gdbstub: $(basename "$file") is fine"
done
