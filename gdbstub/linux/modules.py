"""Loaded modules of a Linux guest, from the kernel's list of them.

The list is the guest's and may be damaged: every walk has a bound, and none goes round.
Source: linux/include/linux/module.h, kernel/module/main.c, kernel/module/sysfs.c.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import IntEnum
from typing import Final, NamedTuple

from gdbstub.errors import MemoryFault, NotFound
from gdbstub.linux.kernel_image import KernelImage
from gdbstub.linux.memory import LinuxKernel, pointer, string

Read = Callable[[int, int], bytes]

_MEMBERS: Final = (
    "list", "name", "state", "core_layout", "init_layout", "mem", "sect_attrs", "refcnt",
)  # fmt: skip
_NEEDED: Final = ("list", "name", "state")
#: MODULE_NAME_LEN on 64 bits.
_NAME: Final = 56
_NAMED: Final = re.compile(rb"[\w.,+-]{1,55}")
#: MOD_MEM_NUM_TYPES, since 6.4.
_MEM_TYPES: Final = 7
#: Most modules, sections of one, and bytes of one that are believed.
_MOST: Final = 1 << 14
_MOST_SECTIONS: Final = 1 << 10
_MOST_BYTES: Final = 1 << 30
_SECTION_NAME: Final = 128
#: Bytes at the start of module_sect_attrs in which its attribute_group is.
_GROUP: Final = 64
#: The list's head is in .data, as init_task is: at most so far before and behind that.
_BEFORE: Final = 2 << 20
_BEHIND: Final = 32 << 20
#: Alignment of the kernel's segments, at least (SEGMENT_ALIGN).
_SEGMENT: Final = 64 << 10
_UPPER: Final = 0xFFFF << 48
_TOP: Final = 1 << 64


class ModuleState(IntEnum):
    """State of a module (enum module_state)."""

    LIVE = 0
    COMING = 1
    GOING = 2
    UNFORMED = 3


class Module(NamedTuple):
    """One loaded module: the address of its ``struct module``, and what that says.

    ``ranges`` are those of its memory, that of its code first; memory of its init is among them
    until it is freed. ``references`` is the number of its users.
    """

    gva: int
    name: str
    state: ModuleState
    references: int
    ranges: tuple[range, ...]
    sect_attrs: int

    @property
    def base(self) -> int:
        """Address of its code, 0 if it has none."""
        return self.ranges[0].start if self.ranges else 0

    @property
    def size(self) -> int:
        """Bytes of all its memory."""
        return sum(map(len, self.ranges))


class Section(NamedTuple):
    """One section of a module: its name, and the address that it was loaded at."""

    name: str
    gva: int


class Modules:
    """The list of modules of *kernel*, whose layout is read once."""

    def __init__(self, kernel: LinuxKernel, image: KernelImage, data: int) -> None:
        """Read the layout; *data* is an address in .data of the kernel's *image*.

        Raises:
            NotFound: the kernel has no modules.
        """
        self._kernel = kernel
        self._image = image
        self._data = data
        self._at: Mapping[str, int] = image.btf.members("module", _MEMBERS)
        if missing := [name for name in _NEEDED if name not in self._at]:
            raise NotFound(f"the kernel's struct module has no {', '.join(missing)}")
        split = "mem" in self._at
        part = "module_memory" if split else "module_layout"
        self._part = image.btf.structure(part, ("base", "size"))
        if len(self._part.offsets) < 2:
            raise NotFound(f"the kernel's BTF has a structure {part} without base or size")
        starts = [self._at[name] for name in ("core_layout", "init_layout") if name in self._at]
        if split:
            starts = [self._at["mem"] + n * self._part.size for n in range(_MEM_TYPES)]
        self._parts = starts
        self._address = 0
        with suppress(NotFound):
            # Since 6.14 the address is where every binary attribute has its private pointer.
            self._address = image.btf.members("bin_attribute", ("private",))["private"]
            self._address = image.btf.members("module_sect_attr", ("address",))["address"]
        self._head: int | None = None

    def all(self) -> Iterator[Module]:
        """Yield all modules, the last loaded first, except those in MODULE_STATE_UNFORMED.

        Raises:
            NotFound: the list is damaged, with the place.
        """
        read = self._kernel.reader()
        if (head := self._find_head(read)) is None:
            return
        link, seen = head, {head}
        while True:
            try:
                link = pointer(read, link)
                if link == head:
                    return
                if link in seen or len(seen) > _MOST:
                    raise NotFound(f"the list of modules is damaged: it comes back to {link:#x}")
                seen.add(link)
                if found := self.module(link - self._at["list"], read):
                    yield found
            except MemoryFault as fault:
                raise NotFound(f"the list of modules is damaged at {link:#x}: {fault}") from None

    def module(self, gva: int, read: Read) -> Module | None:
        """Read the ``struct module`` at *gva*; None if it is unformed yet, or is no module.

        Raises:
            MemoryFault: it cannot be read.
        """
        gva %= _TOP
        name = read(gva + self._at["name"], _NAME).split(b"\0")[0]
        state = self._number(gva + self._at["state"], read)
        if state >= ModuleState.UNFORMED or not _NAMED.fullmatch(name):
            return None
        references = self._number(gva + self._at["refcnt"], read) if "refcnt" in self._at else 0
        attributes = pointer(read, gva + self._at["sect_attrs"]) if "sect_attrs" in self._at else 0
        return Module(
            gva,
            name.decode(),
            ModuleState(state),
            max(references - 1, 0),  # MODULE_REF_BASE
            tuple(self._ranges(gva, read)),
            attributes,
        )

    def _ranges(self, gva: int, read: Read) -> Iterator[range]:
        base_at, size_at = (self._part.offsets[name] for name in ("base", "size"))
        for part in self._parts:
            base = pointer(read, gva + part + base_at)
            size = self._number(gva + part + size_at, read)
            if base and 0 < size <= _MOST_BYTES:
                yield range(base, base + size)

    def _number(self, gva: int, read: Read) -> int:
        return int.from_bytes(read(gva, 4), "little")

    def sections(self, module: Module) -> list[Section]:
        """Return the loaded sections of *module*, as /sys/module/NAME/sections lists them.

        Those of its init are listed after they have been freed, too.

        Raises:
            NotFound: the kernel keeps none, or the list is damaged.
        """
        if not module.sect_attrs or not self._address:
            raise NotFound(f"the kernel keeps no sections of {module.name}")
        read = self._kernel.reader()
        try:
            return list(self._sections(module.sect_attrs, read))
        except MemoryFault as fault:
            raise NotFound(f"the sections of {module.name} are damaged: {fault}") from None

    def _sections(self, attributes: int, read: Read) -> Iterator[Section]:
        rows = self._attributes(attributes, read)
        for number in range(_MOST_SECTIONS):
            if not (attribute := pointer(read, rows + 8 * number)):
                return
            name = string(read, pointer(read, attribute), _SECTION_NAME)
            yield Section(name, pointer(read, attribute + self._address))
        raise MemoryFault(f"there are more than {_MOST_SECTIONS}")

    def _attributes(self, attributes: int, read: Read) -> int:
        """Return the address of the pointers to all attributes, the first of which it follows.

        The place of that pointer in attribute_group differs from version to version.
        """
        group = read(attributes, _GROUP)
        for at in range(0, _GROUP, 8):
            rows = int.from_bytes(group[at : at + 8], "little")
            with suppress(MemoryFault):
                if rows & _UPPER and attributes < pointer(read, rows) < attributes + 2 * _GROUP:
                    return rows
        raise MemoryFault(f"there is no list of attributes at {attributes:#x}")

    def _find_head(self, read: Read) -> int | None:
        """Return the address of the list's head, None while there is no module.

        It has no symbol in most kernels' kallsyms. It is in .data, and the only list there whose
        first member is a module: one whose own memory it is in.
        """
        if self._head is not None:
            return self._head
        image = self._image.addresses
        first = max(self._data - _BEFORE - self._image.start, 0) & -8
        end = self._end_of_data(read)
        for start, piece in self._image.pieces(0, first):
            if start >= end:
                break
            words = memoryview(piece[: min(len(piece), end - start) & -8]).cast("Q")
            for number, word in enumerate(words):
                if (
                    word >= _UPPER
                    and not word & 7
                    and word not in image
                    and self._is_head(start + 8 * number, word, read)
                ):
                    self._head = start + 8 * number
                    return self._head
        return None

    def _end_of_data(self, read: Read) -> int:
        """Return where the mapping ends that .data is in: in RAM, anybody's pages are behind it."""
        gva = self._data & -_SEGMENT
        with suppress(MemoryFault):
            while gva < self._data + _BEHIND:
                read(gva, 1)
                gva += _SEGMENT
        return gva

    def _is_head(self, head: int, link: int, read: Read) -> bool:
        try:
            if pointer(read, link + 8) != head:
                return False
            found = self.module(gva := link - self._at["list"], read)
        except MemoryFault:
            return False
        return found is not None and any(gva in each for each in found.ranges)
