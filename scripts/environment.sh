#!/bin/sh
# Make .venv hold the project and the packages of its extras. Arguments: the extras' names, and the
# programs that are needed besides, as ensure.sh has them: all are asked for at once.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
extras=$1
shift
if [ -z "${PYTHON:-}" ] && ! command -v python3 >/dev/null; then
    scripts/ensure.sh python3:python3-venv cc:gcc "no program but headers:python3-dev" "$@"
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "gdbstub: needs Python 3.11 or newer; name one: make PYTHON=python3.12 …" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    set -- "$@" "no program but modules:python3-venv"
fi
# One package of the lab's, minilzo, comes as source: a compiler and Python's headers build it.
headers='import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include")+"/Python.h"))'
"$python" -c "$headers" || set -- "$@" "no program but headers:python3-dev"
scripts/ensure.sh cc:gcc "$@"
echo "gdbstub: installing Python packages into .venv (up to a minute)" >&2
# One whose making was interrupted has no pip.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv
# On a terminal pip shows how far it is.
quiet=--quiet
[ ! -t 2 ] || quiet=
.venv/bin/python -m pip install $quiet --disable-pip-version-check --editable ".[$extras]" >&2
