"""Compilation of the native core, the C files in ``gdbstub/kvm/core``, to one shared library.

The wheel's build hook uses it, where no dependency is installed, and the lab's overlay.
"""

import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gdbstub.errors import InputError, installation

SOURCES: Final = Path(__file__).parent / "core"
#: The file beside this one that ``native`` opens.
LIBRARY: Final = "core.so"
_FLAGS: Final = ("-std=gnu11", "-O2", "-fPIC", "-shared")
#: Debian packages that a compiler for arm64 needs, on arm64 and elsewhere.
_PACKAGES: Final = {True: "gcc libc6-dev", False: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"}


def is_native() -> bool:
    """Return True if this machine runs what it compiles for arm64."""
    return platform.machine() == "aarch64"


def compiler() -> str:
    """Return the path of the C compiler for arm64.

    Raises:
        InputError: there is none; with the command that installs it.
    """
    name = "cc" if is_native() else "aarch64-linux-gnu-gcc"
    if (found := shutil.which(name)) is None:
        raise InputError(
            f"{name}, which compiles gdbstub's native core, is not installed: "
            f"{installation(_PACKAGES[is_native()])}"
        )
    return found


def sources() -> Sequence[Path]:
    """Return the files that the library is made of, headers too."""
    return sorted(SOURCES.glob("*.[ch]"))


def key() -> Sequence[bytes]:
    """Return what the library follows from: the sources, the flags, and the compiler's version.

    Raises:
        InputError: there is no compiler.
    """
    version = subprocess.run([compiler(), "--version"], capture_output=True, check=True).stdout
    return (version, shlex.join(_FLAGS).encode(), *(path.read_bytes() for path in sources()))


def build(
    output: Path, program: str = "", *, without: Sequence[str] = (), flags: Sequence[str] = ()
) -> None:
    """Compile the library to *output*: for arm64, or *without* some sources by another *program*.

    Raises:
        InputError: there is no compiler, or it failed; with the line that tells most.
    """
    program = program or compiler()
    names = [str(path) for path in sources() if path.suffix == ".c" and path.name not in without]
    argv = [program, *_FLAGS, *flags, "-o", str(output), *names]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = done.stderr.splitlines() or ["no message"]
        why = next((line for line in lines if "error:" in line), lines[-1])
        raise InputError(
            f"{program} cannot compile gdbstub's native core: {why}; "
            f"if a header is missing: {installation(_PACKAGES[is_native()])}"
        )
