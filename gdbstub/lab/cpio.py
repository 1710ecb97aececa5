"""initramfs archives: written by GNU cpio, concatenated as the kernel reads them.

Nothing is compressed: under emulation the kernel unpacks plain archives fastest.
"""

import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from gdbstub.lab import tools

ALIGN = 4
"""Every archive after the first starts at a multiple of this (initramfs buffer format)."""


def pack(tree: Path, archive: Path) -> None:
    """Write everything under *tree* into *archive*, owned by root and readable by every user.

    A stub in the lab is not root, and the files may have been made under any umask.
    """
    for path in tree.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(stat.S_IMODE(mode) | 0o444 | (0o111 if mode & 0o111 else 0))
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    listing = b"\0".join(name.encode() for name in [".", *names]) + b"\0"
    argv = ["cpio", "--create", "--null", "--quiet", "--format=newc", "--reproducible"]
    argv += ["--owner=0:0", f"--file={archive}"]
    tools.run(argv, cwd=tree, stdin=listing)


def join(archives: Iterable[Path], target: Path) -> None:
    """Concatenate *archives* into *target*, each padded with zeros to ``ALIGN`` bytes."""
    with target.open("wb") as out:
        for archive in archives:
            with archive.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
            out.write(b"\0" * (-out.tell() % ALIGN))
