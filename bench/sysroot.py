"""The arm64 C library and its headers, with which programs are built for the lab."""

import subprocess
from pathlib import Path
from typing import Final

from gdbstub.lab import cache, debian
from gdbstub.lab.image import NOT_WANTED, lay_out

PACKAGES: Final = ("libc6-dev", "linux-libc-dev")
COMPILER: Final = "aarch64-linux-gnu-gcc"
_LIBRARIES: Final = "usr/lib/aarch64-linux-gnu"


def prepare() -> Path:
    """Return the directory tree of this machine's Debian release; the first call builds it."""
    parts: list[str | bytes] = [debian.release(), Path(__file__).read_bytes()]
    return cache.entry("sysroot", parts, _build) / "tree"


def _build(directory: Path) -> None:
    tree = directory / "tree"
    with debian.Arm64(cache.root() / "apt", directory) as packages:
        packages.update()
        wanted = [item for item in packages.closure(PACKAGES) if item[0] in PACKAGES]
        debs = packages.download(wanted)
    lay_out(tree)
    for deb in debs:
        debian.unpack(deb, tree, NOT_WANTED)


def compile_static(sysroot: Path, source: Path, program: Path) -> None:
    """Build the C program *source* for the lab."""
    include = sysroot / "usr/include"
    argv = [COMPILER, "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
    argv += ["-isystem", str(include), "-isystem", str(include / "aarch64-linux-gnu")]
    argv += [f"-B{sysroot / _LIBRARIES}", f"-L{sysroot / _LIBRARIES}"]
    subprocess.run([*argv, "-o", str(program), str(source)], check=True)
