"""Run of vmlinux-to-elf, as a script: ``[OPTION]… IMAGE VMLINUX``. Its classes are made once each.

The library makes the class of a symbol and of a relocation anew for each of them, of which a
kernel has 200,000: two thirds of the time. Nothing else of it is changed; ``demo.py`` starts it.
"""

from ctypes import Structure
from functools import cache

from vmlinux_to_elf.scripts import vmlinux_to_elf
from vmlinux_to_elf.utils.elf import VariableEndiannessAndWordsizeStructure

_make = VariableEndiannessAndWordsizeStructure.__new__


@cache
def _class_of(declared: type[Structure], big: bool, wide: bool) -> type[Structure]:
    return type(_make(declared, big, wide))


def structure(
    declared: type[Structure], is_big_endian: bool = False, is_64_bits: bool = False
) -> Structure:
    """Make a structure as *declared*, for an ELF file of this kind."""
    return _class_of(declared, is_big_endian, is_64_bits)()


if __name__ == "__main__":
    VariableEndiannessAndWordsizeStructure.__new__ = structure
    vmlinux_to_elf.main()
