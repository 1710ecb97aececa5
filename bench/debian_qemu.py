"""Debian's arm64 QEMU and the tools to measure it, as a directory tree for chroot in the lab."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import cache, debian, vmm
from gdbstub.lab.image import NOT_WANTED

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
    version = vmm.build_tree(directory, PACKAGES, _LEFT_OUT, suite)[PACKAGES[0]]
    if not (match := re.search(r"(?:\d+:)?([\d.]+)", version)):
        raise LabError(f"QEMU's version is {version}; expected digits and dots")
    (directory / "version").write_text(match[1])
