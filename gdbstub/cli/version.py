"""The version of this program, with the commit that it was made of.

A wheel has the commit in a file, which ``hatch_build.py`` writes; a checkout asks git.
"""

import subprocess
from pathlib import Path
from typing import Final

from gdbstub import __version__
from gdbstub.errors import printable

#: File beside this one, in wheels and source distributions.
COMMIT: Final = "commit.txt"
_ROOT: Final = Path(__file__).parents[2]
_SECONDS: Final = 10.0


def version() -> str:
    """Return the version, and the commit if it is known."""
    found = commit()
    return f"{__version__}, commit {found}" if found else __version__


def commit() -> str:
    """Return the commit, with ``-dirty`` for a checkout with changes; empty if it is unknown."""
    if not (_ROOT / ".git").exists():  # else a checkout that holds our environment might answer
        try:
            return Path(__file__).with_name(COMMIT).read_text(errors="replace").strip()
        except OSError:
            return ""
    return from_git(_ROOT)


def from_git(root: Path) -> str:
    """Return the commit of the checkout *root*, as ``commit``."""
    argv = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return printable(done.stdout.strip())
