"""Names of addresses in a Linux kernel and its modules, by what the kernel itself has of them.

Source: linux/kernel/module/kallsyms.c (find_kallsyms_symbol).
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from gdbstub.errors import MemoryFault, NotFound
from gdbstub.linux.memory import pointer, string

if TYPE_CHECKING:
    from gdbstub.linux.guest import LinuxGuest
    from gdbstub.linux.kallsyms import Kallsyms
    from gdbstub.linux.modules import Module

#: Elf64_Sym: name, info, other, section, value, size.
_SYMBOL: Final = struct.Struct("<IBBHQQ")
#: Most symbols of one module that are believed, and the longest name.
_MOST: Final = 1 << 17
_LONGEST: Final = 256
_TABLE: Final = ("symtab", "num_symtab", "strtab")


class _Symbol(NamedTuple):
    gva: int
    name: int


class Names:
    """Names of addresses in *kernel*, as they are now."""

    def __init__(self, kernel: "LinuxGuest") -> None:
        """Read the kernel's names, as far as it has any."""
        self._kernel = kernel
        self._kallsyms: Kallsyms | None = None
        self._modules: list[Module] = []
        #: A line on what there is no name of; empty if there is one of all.
        self.missing = ""
        try:
            self._kallsyms = kernel.kallsyms
        except NotFound as reason:
            self.missing = f"No names: {reason}\n"
        with suppress(NotFound):  # those before the damage count
            for module in kernel.modules.all():
                self._modules.append(module)

    def name(self, gva: int) -> str:
        """Return ``function+0xOFFSET``, of a module with its name; "" where there is no name."""
        for module in self._modules:
            if any(gva in each for each in module.ranges):
                with suppress(NotFound, MemoryFault):
                    return f"{self._in_module(module, gva)} [{module.name}]"
                return f"[{module.name}+{gva - module.base:#x}]"
        return self._kallsyms.name(gva) if self._kallsyms else ""

    def function(self, gva: int) -> str:
        """Return the function that an address is in; "" where there is no name."""
        return self.name(gva).partition("+")[0]

    def _in_module(self, module: "Module", gva: int) -> str:
        """Return the name of an address in *module*.

        Raises:
            NotFound: it has none.
            MemoryFault: it cannot be read.
        """
        types, read = self._kernel.tasks.image.btf, self._kernel.reader()
        at = types.all_members("mod_kallsyms", _TABLE)
        table = pointer(read, module.gva + types.members("module", ("kallsyms",))["kallsyms"])
        symbols, count, strings = (
            int.from_bytes(read(table + at[name], size), "little")
            for name, size in zip(_TABLE, (8, 4, 8), strict=True)
        )
        if count > _MOST:
            raise NotFound(f"the symbols of {module.name} are damaged: {count}")
        rows = read(symbols, count * _SYMBOL.size)
        for symbol in sorted(_defined(rows, gva), key=lambda each: each.gva, reverse=True):
            name = string(read, strings + symbol.name, _LONGEST)
            if name and not name.startswith("$"):
                return f"{name}+{gva - symbol.gva:#x}"
        raise NotFound(f"{module.name} has no symbol at {gva:#x}")


def _defined(rows: bytes, gva: int) -> Iterator[_Symbol]:
    """Yield the symbols with a section that are at *gva* or before it."""
    for name, _, _, section, value, _ in _SYMBOL.iter_unpack(rows):
        if name and section and value and value <= gva:
            yield _Symbol(value, name)
