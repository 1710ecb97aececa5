#!/bin/sh
# Make .venv hold the project and the packages of its extras. Argument: the extras' names.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
[ -n "${PYTHON:-}" ] || scripts/ensure.sh python3:python3-venv
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "gdbstub: needs Python 3.11 or newer; name one: make PYTHON=python3.12 …" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    scripts/ensure.sh "no program but modules:python3-venv"
fi
# One package of the lab's, minilzo, comes as source: a compiler and Python's headers build it.
headers='import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include")+"/Python.h"))'
if "$python" -c "$headers"; then
    scripts/ensure.sh cc:gcc
else
    scripts/ensure.sh cc:gcc "no program but headers:python3-dev"
fi
echo "gdbstub: installing Python packages into .venv (up to a minute)" >&2
# One whose making was interrupted has no pip.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv
# On a terminal pip shows how far it is.
quiet=--quiet
[ ! -t 2 ] || quiet=
.venv/bin/python -m pip install $quiet --disable-pip-version-check --editable ".[$1]" >&2
