"""Programs of this machine: run them; name the Debian package of a missing one.

A program is looked up when it is needed.
"""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from gdbstub.errors import LabError, installation
from gdbstub.signals import deferred_signals

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
"""Debian package of each program that the lab calls."""

MODULES: Final = ("qemu.qmp", "vmlinux_to_elf")
"""Python modules of the extra ``lab``: for any lab, and for the demo guest's symbols."""

_PIPE: Final = subprocess.PIPE


def require(*names: str) -> None:
    """Check that the programs *names* are installed.

    Raises:
        LabError: some are missing; with the command that installs them.
    """
    if missing := [name for name in names if shutil.which(name) is None]:
        packages = " ".join(sorted({PACKAGE_OF[name] for name in missing}))
        raise LabError(f"{', '.join(missing)} not found: {installation(packages)}")


def require_module(name: str) -> None:
    """Check that the Python module *name*, one of ``MODULES``, is installed.

    Raises:
        LabError: it is not; with the command that installs it.
    """
    if not has_module(name):
        raise LabError(
            f"the Python package {name} is not installed: install kvm-gdbstub with its extra lab, "
            "as by pip install 'kvm-gdbstub[lab]'"
        )


def module(name: str, *arguments: str | Path) -> list[str]:
    """Return the command line that executes the installed Python module *name*.

    Python would look first in the working directory, where others may have put files.
    """
    return [sys.executable, "-P", "-m", name, *map(str, arguments)]


def has_module(name: str) -> bool:
    """Return True if the Python module *name* is installed."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of its parent
        return False


def run(argv: Sequence[str], *, cwd: Path | None = None, stdin: bytes = b"") -> str:
    """Run a program to its end; return its output.

    Raises:
        LabError: it is missing or failed; with the line of stderr that tells most.
    """
    require(argv[0]) if argv[0] in PACKAGE_OF else None
    done = call(argv, cwd=cwd, stdin=stdin)
    if done.returncode:
        raise LabError(f"{Path(argv[0]).name} failed: {last_words(done.stderr)}")
    return done.stdout.decode(errors="replace")


def call(
    argv: Sequence[str], *, cwd: Path | None = None, stdin: bytes | IO[bytes] = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end with its output captured; it does not outlive the call."""
    given, source = (stdin, _PIPE) if isinstance(stdin, bytes) else (None, stdin)
    with started(argv, cwd=cwd, stdin=source, stderr=_PIPE) as process:
        out, err = process.communicate(given)
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


@contextmanager
def started(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    stdin: int | IO[bytes] | None = None,
    stderr: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program for the block, which reads its output; wait for its end or kill it.

    It is killed also if a signal's handler raises while it is being started, where
    ``subprocess`` alone would leave it running.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with deferred_signals():
            process = subprocess.Popen(argv, cwd=cwd, stdin=stdin, stdout=_PIPE, stderr=stderr)
        yield process
        with process:  # which closes the pipes, and waits
            pass
    except BaseException:
        if process:
            with process:
                process.kill()
        raise


def last_words(stderr: bytes) -> str:
    """Return the line of *stderr* that most likely has the reason: an error, else the last."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    full = [line for line in lines if "No space left" in line]
    errors = [line for line in lines if line.startswith(("E:", "ERROR", "error"))]
    return (full or errors or lines or ["no message"])[-1]
