"""The symbolizer's structures: those of the library, but each kind has one class."""

from ctypes import Structure

import pytest
from vmlinux_to_elf.utils import elf

from gdbstub.lab import symbolizer

SYMBOL, HEADER = elf.Elf64LittleEndianSymbolTableEntry, elf.ElfSectionHeader


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("declared", [SYMBOL, HEADER], ids=["symbol", "header"])
def test_they_are_the_librarys(declared: type[Structure], big: bool, wide: bool) -> None:
    theirs = declared(big, wide)  # whose class is another each time
    ours, other = (symbolizer.structure(declared, big, wide) for _ in range(2))
    assert type(ours) is type(other)
    assert ours is not other
    assert type(ours).__mro__[1:] == type(theirs).__mro__[1:]
    for name in ("_fields_", "_pack_", "is_big_endian", "is_64_bits"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert bytes(ours) == bytes(theirs)
