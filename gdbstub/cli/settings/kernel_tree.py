"""A Linux kernel's source or build tree as GUEST: the Image and the vmlinux that were built in it.

It builds nothing.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.errors import InputError

_BOOT: Final = Path("arch/arm64/boot")
#: Targets of arch/arm64/boot/Makefile that can be run, best first.
_IMAGES: Final = ("Image", "Image.gz", "Image.zst", "vmlinuz.efi")
_SYMBOLS: Final = "vmlinux"


class KernelTree(NamedTuple):
    """Files of a built kernel."""

    image: Path
    symbols: Path | None

    @property
    def no_symbols(self) -> str:
        """The reason for there being none, in words."""
        return f"none, since there is no {_SYMBOLS}; see gdbstub symbols"


def find(directory: Path) -> KernelTree:
    """Find the kernel that was built in *directory*.

    Raises:
        InputError: there is none, with what is missing.
    """
    symbols = directory / _SYMBOLS
    for name in _IMAGES:
        if os.path.isfile(image := directory / _BOOT / name):
            return KernelTree(image, symbols if os.path.isfile(symbols) else None)
    if not os.path.isdir(directory / _BOOT):
        raise InputError(
            f"{directory}: is a directory without {_BOOT}; expected a kernel's tree, or a file"
        )
    raise InputError(
        f"{directory}: has no {_BOOT}/{_IMAGES[0]}: build it by make ARCH=arm64 {_IMAGES[0]}, or "
        "give the directory that make O= builds in"
    )
