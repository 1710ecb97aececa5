"""Run the machine's own programs, and say which Debian package brings a missing one.

It keeps no list of what is installed: a program is looked up when it is needed.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gdbstub.lab.errors import LabError

PACKAGE_OF: Final[Mapping[str, str]] = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "cpio": "cpio",
    "dpkg-deb": "dpkg",
    "gzip": "gzip",
    "qemu-system-aarch64": "qemu-system-arm",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "tar": "tar",
}
"""The Debian package of every program that the lab calls."""


def require(*names: str) -> None:
    """Raise a ``LabError`` that names every missing program and the command that installs it."""
    if missing := [name for name in names if shutil.which(name) is None]:
        packages = " ".join(sorted({PACKAGE_OF[name] for name in missing}))
        raise LabError(f"{', '.join(missing)} not found: apt-get install {packages}")


def run(argv: Sequence[str], *, cwd: Path | None = None, stdin: bytes = b"") -> str:
    """Run a program to its end and return its output; a failure becomes one ``LabError`` line."""
    require(argv[0]) if argv[0] in PACKAGE_OF else None
    done = subprocess.run(argv, cwd=cwd, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise LabError(f"{Path(argv[0]).name} failed: {last_words(done.stderr)}")
    return done.stdout.decode(errors="replace")


def last_words(stderr: bytes) -> str:
    """Pick the line of *stderr* that most likely says why: an error, else the last one."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    full = [line for line in lines if "No space left" in line]
    errors = [line for line in lines if line.startswith(("E:", "ERROR", "error"))]
    return (full or errors or lines or ["no message"])[-1]
