"""Debian's arm64 QEMU and the tools to measure it, as a directory tree for chroot in the lab.

The tree also has the C library's headers, with which the client is built.
It has uvloop for the lab's own Python: the stub is measured with and without it.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import cache, debian
from gdbstub.lab.image import NOT_UNPACKED, NOT_WANTED, install_wheels, lay_out
from gdbstub.lab.progress import Steps

PACKAGES: Final = ("qemu-system-arm", "strace", "libc6-dev")
PROGRAM: Final = "qemu-system-aarch64"
UVLOOP: Final = "uvloop"
"""Name of the package, and of its folder in the tree."""

#: Files that no row needs, which would be copied into the lab each time.
_LEFT_OUT: Final = (
    *NOT_WANTED,
    "./usr/bin/qemu-system-arm",
    "./usr/share/qemu/*",
    "./usr/share/iso-codes*",
    "./usr/share/xml*",
    "./usr/share/alsa*",
)
_HEADERS: Final = ("usr/include", "usr/lib/*/*.a", "usr/lib/*/*.o", "usr/share")


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree; ``archive`` is a tar file of it without the headers, the strings are versions."""

    sysroot: Path
    archive: Path
    qemu: str
    uvloop: str

    def compile(self, source: Path, program: Path) -> None:
        """Build a C program for the lab."""
        arch = "usr/lib/aarch64-linux-gnu"
        include = self.sysroot / "usr/include"
        argv = ["aarch64-linux-gnu-gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
        argv += ["-isystem", str(include), "-isystem", str(include / "aarch64-linux-gnu")]
        argv += [f"-B{self.sysroot / arch}", f"-L{self.sysroot / arch}"]
        subprocess.run([*argv, "-o", str(program), str(source)], check=True)


def prepare(suite: str = "") -> Tree:
    """Return the tree of this machine's Debian release or of *suite*; the first call builds it."""
    parts: list[str | bytes] = [debian.release(), suite, Path(__file__).read_bytes()]
    made = cache.entry("bench", parts, lambda directory: _build(directory, suite))
    (uvloop,) = (made / "tree" / UVLOOP).glob("*.dist-info")
    version = uvloop.stem.partition("-")[2]
    return Tree(made / "tree", made / "tree.tar", (made / "version").read_text(), version)


def _build(directory: Path, suite: str) -> None:
    tree = directory / "tree"
    with Steps("preparing QEMU for the lab", 5) as steps:
        steps.step("reading the package lists")
        place = cache.root() / (f"apt-{suite}" if suite else "apt")
        with debian.Arm64(place, directory, suite) as packages:
            packages.update()
            closure = packages.closure(PACKAGES)
            steps.step(f"downloading {len(closure)} Debian packages")
            debs = packages.download([item for item in closure if item[0] not in NOT_UNPACKED])
        steps.step("unpacking them")
        lay_out(tree)
        for deb in debs:
            debian.unpack(deb, tree, _LEFT_OUT)
        steps.step("downloading uvloop")
        install_wheels(tree / UVLOOP, _python(directory), [UVLOOP])
        steps.step("packing the tree")
        left_out = [f"--exclude=./{pattern}" for pattern in _HEADERS]
        archive = directory / "tree.tar"
        subprocess.run(["tar", "-C", tree, "-cf", archive, *left_out, "."], check=True)
    versions = dict(closure)
    if not (match := re.search(r"(?:\d+:)?([\d.]+)", versions[PACKAGES[0]])):
        raise LabError(f"QEMU's version is {versions[PACKAGES[0]]}; expected digits and dots")
    (directory / "version").write_text(match[1])


def _python(directory: Path) -> str:
    """Return the version of the lab's Python, which is that of this machine's release."""
    with debian.Arm64(cache.root() / "apt", directory) as packages:
        packages.update()
        name = packages.dependency("python3-minimal", r"python3\.\d+-minimal")
    return name.removeprefix("python").removesuffix("-minimal")
