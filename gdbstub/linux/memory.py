"""Memory of a Linux kernel by its own virtual addresses, whatever the vCPUs execute.

The tables are the kernel's swapper_pg_dir, which VMCOREINFO names.
"""

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

from gdbstub.aarch64.mmu import Regime, pieces
from gdbstub.aarch64.registers import CPSR, SCTLR_EL1, SP_EL0
from gdbstub.aarch64.sysreg import PSTATE, SCTLR, TCR
from gdbstub.debug.memory import VirtualMemory, regime_of
from gdbstub.errors import MachineError, MemoryFault, NotFound, printable
from gdbstub.linux import vmcoreinfo
from gdbstub.linux.vmcoreinfo import VmcoreInfo
from gdbstub.machine import Machine, Power, Vcpu
from gdbstub.slices import spend

_POINTER = struct.Struct("<Q")
_VA_BITS = range(36, 53)
#: Largest read: one page can be mapped everywhere, so a length of the guest's must end.
_MOST = 64 << 20
#: Bytes that are read at once, before the event loop may have its turn.
_PIECE = 1 << 20
_PAGE = 4096
#: TCR_EL1.TG1 of pages of 64 KiB, and bits of an address that an entry of their first table is for.
_TG1_64K = 0b11
_ENTRY_BITS = 42


class LinuxKernel:
    """The kernel of a machine, for use while all vCPUs are parked."""

    def __init__(self, machine: Machine, memory: VirtualMemory) -> None:
        """Begin with nothing known; *memory* hides the debugger's breakpoints."""
        self.machine = machine
        self._memory = memory
        self._info: VmcoreInfo | None = None

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        """The vCPUs that may be looked at."""
        return self.machine.vcpus

    def read_physical(self, ipa: int, length: int) -> bytes:
        """Read RAM, short at its end.

        Raises:
            MemoryFault: no RAM at *ipa*.
        """
        data = self._read_piece(ipa, length)
        if length <= _PIECE:
            return data
        read = bytearray(data)
        with suppress(MemoryFault):  # of what is behind the end
            while len(read) < length and not len(read) % _PIECE:
                read += self._read_piece(ipa + len(read), length - len(read))
        return bytes(read)

    def _read_piece(self, ipa: int, length: int) -> bytes:
        spend(0)
        return self._memory.read_physical(ipa, min(length, _PIECE))

    def has_breakpoints(self, ipa: int, length: int) -> bool:
        """Return True if RAM from *ipa* on has BRKs of ours, which reading hides."""
        return self._memory.has_breakpoints(ipa, length)

    @property
    def ram(self) -> Sequence[range]:
        """The physical addresses of RAM.

        Raises:
            MachineError: the machine does not say.
        """
        if (layout := self.machine.capabilities.layout) is None:
            raise MachineError("this machine does not say where its RAM is")
        return layout.ram_ranges

    @property
    def info(self) -> VmcoreInfo:
        """The kernel's VMCOREINFO, read anew where it was found before.

        Raises:
            NotFound: it is not in RAM, or the kernel has not started yet.
        """
        self.vcpu()  # before the kernel has its MMU on there is nothing to search for
        if (known := self._info) is not None:
            text = known.text + b"\0"
            with suppress(MemoryFault):
                if self.read_physical(known.ipa, len(text)) == text:  # it hardly ever changes
                    return known
            self._info = vmcoreinfo.read_at(known.ipa, self.read_physical)
        if self._info is None:
            self._info = vmcoreinfo.find(self.ram, self.read_physical)
        return self._info

    def vcpu(self) -> Vcpu:
        """Return a vCPU whose MMU is on, one in the kernel if there is any.

        Raises:
            NotFound: there is none.
        """
        on = [each for each in self.vcpus if each.power is Power.ON]
        translated = [each for each in on if SCTLR(each.get(SCTLR_EL1)).M]
        if not translated:
            raise NotFound("no vCPU has its MMU on: the kernel has not started yet")
        return next((each for each in translated if in_kernel(each)), translated[0])

    def regime(self) -> Regime:
        """Return the translation regime of the kernel, with its own tables.

        Raises:
            NotFound: the kernel's tables cannot be found.
        """
        info, regime = self.info, regime_of(self.vcpu())
        tables = info.number("SYMBOL", "swapper_pg_dir") - info.number("NUMBER", "kimage_voffset")
        tables += _unused(info, regime.tcr)
        return regime._replace(ttbr1=tables % (1 << 48))

    def reader(self) -> Callable[[int, int], bytes]:
        """Return a function that reads by a virtual address of the kernel's, all bytes or none.

        It raises ``MemoryFault``.

        Raises:
            NotFound: the kernel's tables cannot be found.
        """
        info, regime = self.info, self.regime()
        ram = self.machine.read_memory
        linear = self.linear_map(info)

        def read(gva: int, length: int) -> bytes:
            if length > _MOST:
                raise MemoryFault(f"{length} bytes at {gva:#x} are more than any table has")
            spend(1 + length // _PAGE)
            # The tables say the same of the linear map, and take longer.
            for area, ipa in linear:
                if area.start <= gva and gva + length <= area.stop:
                    return self.read_physical(ipa + gva - area.start, length)
            data = bytearray()
            for part in pieces(regime, gva % (1 << 64), length, ram) if length else ():
                wanted = min(part.size, length - len(data))
                data += self.read_physical(part.ipa, wanted)
                if len(data) < min(length, wanted):
                    break
            if len(data) < length:
                raise MemoryFault(f"RAM ends within {length} bytes at {gva:#x}")
            return bytes(data)

        return read

    def linear_map(self, info: VmcoreInfo) -> list[tuple[range, int]]:
        """Return the addresses of RAM in the kernel's linear map, each with its physical one."""
        try:
            bits, start = info.number("NUMBER", "VA_BITS"), info.number("NUMBER", "PHYS_OFFSET")
        except NotFound:
            return []
        if bits not in _VA_BITS:
            return []
        found = []
        for each in self.ram:
            gva = ((1 << 64) - (1 << bits) + each.start - start) % (1 << 64)
            found.append((range(gva, gva + len(each)), each.start))
        return found


def _unused(info: VmcoreInfo, tcr: TCR) -> int:
    """Return the bytes of the kernel's first table that the CPU has no address for.

    A kernel of 64 KiB pages and 52 bits has them on a CPU of 48: it gives that the end of the
    table (linux/arch/arm64/include/asm/pgtable-hwdef.h, TTBR1_BADDR_4852_OFFSET).
    """
    try:
        bits = info.number("NUMBER", "VA_BITS")
    except NotFound:
        return 0
    if tcr.TG1 != _TG1_64K or bits not in _VA_BITS or not _ENTRY_BITS < 64 - tcr.T1SZ < bits:
        return 0
    return 8 * ((1 << bits - _ENTRY_BITS) - (1 << 64 - tcr.T1SZ - _ENTRY_BITS))


def physical(gva: int, linear: Sequence[tuple[range, int]]) -> int | None:
    """Return the physical address of *gva* in the *linear* map, None if it is not there."""
    for area, ipa in linear:
        if gva in area:
            return ipa + gva - area.start
    return None


def in_kernel(vcpu: Vcpu) -> bool:
    """Return True if the vCPU is at EL1, where SP_EL0 is the address of its task."""
    return PSTATE(vcpu.get(CPSR)).EL == 1


def current(vcpu: Vcpu) -> int:
    """Return the address of the task that *vcpu* executes, in the kernel."""
    return vcpu.get(SP_EL0)


def pointer(read: Callable[[int, int], bytes], gva: int) -> int:
    """Read a pointer at *gva*."""
    value: int = _POINTER.unpack(read(gva, 8))[0]
    return value


def string(read: Callable[[int, int], bytes], gva: int, most: int) -> str:
    """Read a string at *gva*, at most so many bytes; what is not ASCII is shown as escapes."""
    # What is behind it need not be mapped.
    data = b""
    while len(data) < most and b"\0" not in data:
        data += read(gva + len(data), 8 - (gva + len(data)) % 8)
    return printable(data.split(b"\0")[0].decode("ascii", "backslashreplace"))
