"""Debian's arm64 QEMU and the tools to measure it, as a directory tree for chroot in the lab."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import cache, debian
from gdbstub.lab.image import NOT_UNPACKED, NOT_WANTED, lay_out
from gdbstub.lab.progress import Steps

PACKAGES: Final = ("qemu-system-arm", "strace")
PROGRAM: Final = "qemu-system-aarch64"

#: Files that no row needs, which would be copied into the lab each time.
_LEFT_OUT: Final = (
    *NOT_WANTED,
    "./usr/bin/qemu-system-arm",
    "./usr/share/qemu/*",
    "./usr/share/iso-codes*",
    "./usr/share/xml*",
    "./usr/share/alsa*",
)


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree: ``archive`` is a tar file of it, ``qemu`` the version."""

    archive: Path
    qemu: str


def prepare(suite: str = "") -> Tree:
    """Return the tree of this machine's Debian release or of *suite*; the first call builds it."""
    parts: list[str | bytes] = [debian.release(), suite, Path(__file__).read_bytes()]
    made = cache.entry("bench", parts, lambda directory: _build(directory, suite))
    return Tree(made / "tree.tar", (made / "version").read_text())


def _build(directory: Path, suite: str) -> None:
    tree = directory / "tree"
    with Steps("preparing QEMU for the lab", 4) as steps:
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
        steps.step("packing the tree")
        subprocess.run(["tar", "-C", tree, "-cf", directory / "tree.tar", "."], check=True)
    versions = dict(closure)
    if not (match := re.search(r"(?:\d+:)?([\d.]+)", versions[PACKAGES[0]])):
        raise LabError(f"QEMU's version is {versions[PACKAGES[0]]}; expected digits and dots")
    (directory / "version").write_text(match[1])
