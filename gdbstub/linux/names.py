"""Names of addresses in a Linux kernel and its modules, by what the kernel itself has of them.

Source: linux/kernel/module/kallsyms.c (find_kallsyms_symbol).
"""

import struct
from collections.abc import Callable, Iterator
from heapq import nlargest
from typing import TYPE_CHECKING, Final, NamedTuple

from gdbstub.errors import MemoryFault, NotFound
from gdbstub.linux.memory import pointer, string
from gdbstub.slices import TooMuchWork, spend

if TYPE_CHECKING:
    from gdbstub.linux.guest import LinuxGuest
    from gdbstub.linux.kallsyms import Kallsyms
    from gdbstub.linux.modules import Module

Read = Callable[[int, int], bytes]

#: Elf64_Sym: name, info, other, section, value, size.
_SYMBOL: Final = struct.Struct("<IBBHQQ")
#: Most symbols of one module that are believed, and the longest name.
_MOST: Final = 1 << 17
_LONGEST: Final = 256
#: Symbols before an address that are looked at: those that name no function begin with "$".
_NEAREST: Final = 256
#: Symbols that are read at once.
_ROWS: Final = 1 << 11
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
        try:
            for module in kernel.modules.all():
                self._modules.append(module)
        except TooMuchWork as reason:
            self.missing = f"Names: {reason}\n"
        except NotFound:  # those before the damage count
            pass

    def name(self, gva: int) -> str:
        """Return ``function+0xOFFSET``, of a module with its name; "" where there is no name."""
        try:
            for module in self._modules:
                spend()
                if any(gva in each for each in module.ranges):
                    return self._in_module(module, gva)
            return self._kallsyms.name(gva) if self._kallsyms else ""
        except TooMuchWork as reason:
            self.missing = f"Names: {reason}\n"
            return ""

    def function(self, gva: int) -> str:
        """Return the function that an address is in; "" where there is no name."""
        return self.name(gva).partition("+")[0]

    def _in_module(self, module: "Module", gva: int) -> str:
        try:
            return f"{self._symbol(module, gva)} [{module.name}]"
        except TooMuchWork:
            raise
        except (NotFound, MemoryFault):
            return f"[{module.name}+{gva - module.base:#x}]"

    def _symbol(self, module: "Module", gva: int) -> str:
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
        before = _defined(read, symbols, count, gva)
        for symbol in nlargest(_NEAREST, before, key=lambda each: each.gva):
            name = string(read, strings + symbol.name, _LONGEST)
            if name and not name.startswith("$"):
                return f"{name}+{gva - symbol.gva:#x}"
        raise NotFound(f"{module.name} has no symbol at {gva:#x}")


def _defined(read: Read, symbols: int, count: int, gva: int) -> Iterator[_Symbol]:
    """Yield the symbols with a section that are at *gva* or before it."""
    for first in range(0, count, _ROWS):
        rows = read(symbols + first * _SYMBOL.size, min(_ROWS, count - first) * _SYMBOL.size)
        for name, _, _, section, value, _ in _SYMBOL.iter_unpack(rows):
            if name and section and value and value <= gva:
                yield _Symbol(value, name)
