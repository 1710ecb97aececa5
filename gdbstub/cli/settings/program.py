"""The program that clients debug: the file with its symbols, and where the guest has it.

It makes no machine: a kernel with KASLR is located once there is one.
"""

import logging
import os
from pathlib import Path
from typing import Final

from gdbstub.capabilities import Relocation
from gdbstub.errors import InputError
from gdbstub.linux import elf
from gdbstub.linux.kaslr import NO_PROGRAM, GuestProgram, read_kernel
from gdbstub.vmm import image, layout
from gdbstub.vmm.files import Bound, read_input

#: Many times what a kernel with debug information has.
_MOST: Final = Bound(8 << 30, "the most of a file with symbols")

_log = logging.getLogger("gdbstub.run")


def default_symbols(path: Path, guest: image.Guest) -> Path | None:
    """Return the file with the symbols of the *guest* in file *path*, if that is known.

    It is *path* itself, or for a raw binary the ELF beside it that it was made of.
    """
    if isinstance(guest, image.RawBinary):
        beside = path.with_suffix(".elf")
        # Not the path's own is_file(), which raises where the name is too long for a file.
        return beside if beside != path and os.path.isfile(beside) else None
    return None if isinstance(guest, image.LinuxImage) else path


def read_program(symbols: Path | None, guest: image.Guest, *, needed: bool = False) -> GuestProgram:
    """Read the program that clients have *symbols* of, and where the guest has it.

    Raises:
        InputError: the symbols are not the guest's, and a kernel's are *needed*.
    """
    if symbols is None:
        return NO_PROGRAM
    kernel = expected = None
    if symbols.is_file():
        try:
            if isinstance(guest, image.LinuxImage):
                data = read_input(symbols, bound=_MOST)
                ipa = layout.RAM_BASE + guest.text_offset
                kernel = read_kernel(data, str(symbols), guest.data, ipa)
            elif start_of(guest) is not None:
                expected = _relocation(read_input(symbols, bound=_MOST), str(symbols), guest)
        except InputError as error:
            if needed:
                raise InputError(f"--symbols {error}") from None
            _log.warning("--symbols %s", error)
    return GuestProgram(str(symbols.absolute()), kernel, expected)


def read_kernel_symbols(symbols: Path, *, needed: bool) -> GuestProgram:
    """Read the program of a guest whose image nobody has: *symbols*, and the kernel in it, if any.

    Raises:
        InputError: there is no kernel in it, and one is *needed*.
    """
    kernel = None
    try:
        kernel = read_kernel(read_input(symbols, bound=_MOST), str(symbols))
    except InputError as error:
        if needed:
            raise InputError(f"--symbols {error}") from None
        _log.debug("--symbols %s", error)
    return GuestProgram(str(symbols.absolute()), kernel)


def start_of(guest: image.Guest) -> int | None:
    """Return the address at which a guest begins that may be anywhere; None for others."""
    if isinstance(guest, image.RawBinary):
        return guest.address
    if isinstance(guest, elf.Executable) and guest.offset:
        return guest.segments[0].paddr
    return None


def _relocation(symbols: bytes, name: str, guest: image.Guest) -> Relocation | None:
    """Return how far the program with *symbols* was moved, which *guest* is.

    Raises:
        InputError: *symbols* is no linked AArch64 ELF file.
    """
    linked = elf.parse_linked(symbols, name)
    if isinstance(guest, image.RawBinary):
        offset = guest.address - min(segment.vaddr for segment in linked.segments)
    else:
        offset = guest.offset if isinstance(guest, elf.Executable) else 0
    if not linked.position_independent or offset <= 0:
        return None
    return Relocation(linked.segments[0].vaddr, offset)
