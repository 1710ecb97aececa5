"""The plan of a guest's boot: placements in RAM, and the registers it starts with.

It writes nothing: a ``BootPlan`` is a list of bytes with addresses, for RAM that starts zeroed.
Source: Documentation/arch/arm64/booting.rst ("Setup the device tree", "Call the kernel image").
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from gdbstub.errors import InputError
from gdbstub.linux import elf
from gdbstub.vmm import device_tree
from gdbstub.vmm.device_tree import Chosen
from gdbstub.vmm.image import Guest, LinuxImage, RawBinary, too_large
from gdbstub.vmm.layout import RAM_BASE, Gic
from gdbstub.vmm.size import MAXIMUM, format_size

#: PSTATE at entry: EL1h, all of D, A, I, F masked.
ENTRY_PSTATE: Final = 0x3C5

#: Everything of ours begins at a multiple of the largest host page.
_ALIGNMENT: Final = 64 << 10
#: Kernels before 4.2 want the tree in the 512 MiB that hold the Image, and simple guests
#: map 1 GiB; so low memory is tried first.
_NEAR: Final = RAM_BASE + (512 << 20)
#: The initrd and the Image share an aligned window of at most 32 GiB.
_WINDOW: Final = RAM_BASE + (32 << 30)
#: COMMAND_LINE_SIZE of arm64, its final NUL included; a kernel cuts what is longer.
_COMMAND_LINE: Final = 2048


class BootLayout(NamedTuple):
    """A range of RAM for ``what``: ``size`` bytes from ``ipa`` on, ``data`` and then zeroes."""

    what: str
    ipa: int
    data: bytes | memoryview
    size: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.ipa + self.size


class BootPlan(NamedTuple):
    """The initial state of a guest besides reset values: disjoint placements, pc, x0.

    x1 to x3 are 0 and PSTATE is ``ENTRY_PSTATE``; the MMU is off.
    """

    placements: tuple[BootLayout, ...]
    pc: int
    #: The device tree's address.
    x0: int


def plan(
    guest: Guest,
    *,
    memory: int,
    gic: Gic,
    mpidrs: Sequence[int],
    append: str | None = None,
    initrd: bytes | None = None,
    dtb: bytes | None = None,
    pmu: bool = False,
    kaslr_seed: int | None = None,
) -> BootPlan:
    """Plan the boot of *guest* with *memory* bytes of RAM and one vCPU for each of *mpidrs*.

    *append*, *initrd*, *dtb* and *kaslr_seed* are the values of the options of these names. *pmu*
    is True if the vCPUs have a performance monitors unit.

    Raises:
        InputError: the guest does not fit, or an option cannot be honoured.
    """
    if len(mpidrs) > gic.max_cpus:
        raise InputError(
            f"--smp {len(mpidrs)}: GIC{gic.name.lower()} serves {gic.max_cpus} at most"
        )
    is_linux = isinstance(guest, LinuxImage)
    if append is not None and is_linux:
        _check_command_line(append)
    own, pc = _own(guest, memory)
    initrd_size = len(initrd) if initrd else 0

    def tree(start: int) -> bytes:
        where = (start, start + initrd_size) if initrd_size else None
        if dtb is None:
            chosen = Chosen(append or "", where, kaslr_seed)
            return device_tree.build(memory=memory, mpidrs=mpidrs, gic=gic, chosen=chosen, pmu=pmu)
        return device_tree.amend(dtb, "--dtb", Chosen(append, where, kaslr_seed))

    # The addresses in a tree do not change its size.
    tree_size = len(tree(RAM_BASE))
    if tree_size > device_tree.MAX_SIZE:
        raise InputError(
            f"the device tree has {tree_size} bytes; expected {device_tree.MAX_SIZE} at most"
        )
    own_end, end = max(p.end for p in own), RAM_BASE + memory
    needed = _round_up(own_end - RAM_BASE) + _round_up(initrd_size) + _round_up(tree_size)
    what = f"{guest.name} with its initrd" if initrd else guest.name
    if own_end > end:
        raise too_large(what, needed, memory)

    placements, initrd_at = list(own), RAM_BASE
    near = min(_NEAR, end)
    # The initrd first: it may be so large that a tree in the middle would leave no room.
    if initrd:
        found = _highest_gap(initrd_size, own, (near, min(_WINDOW, end) if is_linux else end))
        if found is None:
            raise too_large(what, needed, memory)
        initrd_at = found
        placements.append(BootLayout("initrd", initrd_at, initrd, initrd_size))
    tree_at = _highest_gap(tree_size, placements, (near, end))
    if tree_at is None:
        raise too_large(what, needed, memory)
    placements.append(BootLayout("device tree", tree_at, tree(initrd_at), tree_size))
    return BootPlan(tuple(placements), pc, tree_at)


def _check_command_line(append: str) -> None:
    length = len(append.encode("utf-8", "surrogateescape"))
    if length >= _COMMAND_LINE:
        raise InputError(f"--append: has {length} bytes; the kernel keeps {_COMMAND_LINE - 1}")


def _own(guest: Guest, memory: int) -> tuple[list[BootLayout], int]:
    """Return the placements of *guest* itself, and its first instruction's address."""
    if isinstance(guest, LinuxImage):
        return _linux(guest)
    if isinstance(guest, RawBinary):
        size = len(guest.data)
        return [BootLayout("raw binary", guest.address, guest.data, size)], guest.address
    return _executable(guest, memory)


def _linux(guest: LinuxImage) -> tuple[list[BootLayout], int]:
    # RAM_BASE is a 2 MiB boundary, and a kernel that may not be moved wants the lowest.
    start = RAM_BASE + guest.text_offset
    return [BootLayout("kernel", start, guest.data, guest.image_size)], start


def _executable(guest: elf.Executable, memory: int) -> tuple[list[BootLayout], int]:
    own: list[BootLayout] = []
    for segment in sorted(guest.segments, key=lambda s: s.paddr):
        if segment.paddr < RAM_BASE or segment.end > RAM_BASE + MAXIMUM:
            raise InputError(
                f"{guest.name}: has a segment at {segment.paddr:#x}-{segment.end - 1:#x}; "
                f"RAM is at {RAM_BASE:#x}-{RAM_BASE + memory - 1:#x} ({format_size(memory)})"
            )
        if own and own[-1].end > segment.paddr:
            raise InputError(f"{guest.name}: its segments overlap at {segment.paddr:#x}")
        own.append(BootLayout("ELF segment", segment.paddr, segment.data, segment.memsz))
    return own, guest.physical_entry


def _highest_gap(size: int, taken: Sequence[BootLayout], limits: Iterable[int]) -> int | None:
    """Find the highest aligned *size* free bytes, below the first of *limits* that has room."""
    for limit in limits:
        top = limit
        for placement in sorted(taken, key=lambda p: p.ipa, reverse=True):
            start = _round_down(top - size)
            if start >= placement.end:
                return start
            top = min(top, placement.ipa)
        if (start := _round_down(top - size)) >= RAM_BASE:
            return start
    return None


def _round_up(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _round_down(address: int) -> int:
    return address // _ALIGNMENT * _ALIGNMENT
