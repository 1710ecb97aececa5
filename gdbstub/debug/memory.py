"""A guest's memory as one of its vCPUs sees it, breakpoints of ours hidden.

It reads and writes RAM only: what a device would answer is nobody's business here.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from gdbstub.aarch64.mmu import PA_BITS, Mapping, Regime, Walk, pieces, walk
from gdbstub.aarch64.registers import (
    CPSR,
    ID_AA64MMFR0_EL1,
    SCTLR_EL1,
    TCR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
)
from gdbstub.aarch64.sysreg import ID_AA64MMFR0, PSTATE, SCTLR, TCR
from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine, Vcpu
from gdbstub.swbp import SoftwareBreakpoints

_TOP: Final = 1 << 64
_UPPER: Final = 1 << 55
_PATHS: Final = 256
_REGIME: Final = (SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1)
#: TTBR1_EL1 without ASID and CnP.
_BADDR: Final = (1 << 48) - 2


def regime_of(vcpu: Vcpu, pa_bits: int) -> Regime:
    """The translation regime that *vcpu* is in now."""
    return Regime(
        SCTLR(vcpu.get(SCTLR_EL1)),
        TCR(vcpu.get(TCR_EL1)),
        vcpu.get(TTBR0_EL1),
        vcpu.get(TTBR1_EL1),
        pa_bits,
    )


class _Path:
    """A walk that led to RAM; ``holds`` says whether the descriptors on it are as they were."""

    def __init__(self, regime: Regime, gva: int, machine: Machine) -> None:
        """Walk.

        Raises:
            MemoryFault: no translation.
        """
        descriptors: list[tuple[int, bytes]] = []

        def note(ipa: int, length: int) -> bytes:
            data = machine.read_memory(ipa, length)
            descriptors.append((ipa, data))
            return data

        self.regime = regime
        self.mapping = next(pieces(regime, gva % _TOP, 1, note))
        self.holds = machine.unchanged(descriptors)


class VirtualMemory:
    """Reads and writes by virtual address; all vCPUs parked.

    A kernel that unmaps itself from its processes (Linux's KPTI) has next to nothing in
    TTBR1_EL1 while at EL0. Its addresses are then looked up in the tables that EL1 uses on
    another vCPU now, or was last seen to use.
    """

    def __init__(self, machine: Machine, breakpoints: SoftwareBreakpoints) -> None:
        self._machine = machine
        self._breakpoints = breakpoints
        self._regimes: dict[int, Regime] = {}
        self._made: dict[int, tuple[tuple[int, ...], Regime]] = {}  # the last ones, by values
        self._now: VirtualMemory | None = None
        self._paths: dict[tuple[int, int], _Path] = {}  # by vCPU and address
        self._pa_bits = 0
        #: TTBR1_EL1 as seen at EL1, the latest last. Two, for a kernel is at EL1 with either
        #: of its own on the way out.
        self._kernels: deque[int] = deque(maxlen=2)
        self._alone = False
        #: Where the last read ended: a vCPU, an address, and its place. Reads go on from there.
        self._last: tuple[int, int, Mapping] | None = None

    def forget(self) -> None:
        """A vCPU may have run, or a register been written: ask anew."""
        self._regimes.clear()
        self._last = None

    def reset(self) -> None:
        """The guest starts over: nothing that was seen of it holds."""
        self.forget()
        self._kernels.clear()

    def as_of_now(self, index: int) -> "VirtualMemory":
        """The same, asking anew, for a vCPU's thread: it may have switched tables since a stop.

        It goes by that vCPU's own registers alone, as an instruction of its does. All vCPUs have
        the same one, and each its own registers in it.
        """
        if (now := self._now) is None:
            now = VirtualMemory(self._machine, self._breakpoints)
            now._pa_bits, now._alone = self._pa_bits, True
            now._made, now._paths = self._made, self._paths
            self._now = now
        now._regimes.pop(index, None)
        return now

    def _regime(self, index: int) -> Regime:
        if (regime := self._regimes.get(index)) is None:
            vcpu = self._machine.vcpus[index]
            if not self._pa_bits:  # all vCPUs have the same, always
                mmfr0 = ID_AA64MMFR0(vcpu.get(ID_AA64MMFR0_EL1))
                self._pa_bits = PA_BITS[min(mmfr0.PARange, len(PA_BITS) - 1)]
            values = tuple(vcpu.get(row) for row in _REGIME)
            made = self._made.get(index)
            if made is None or made[0] != values:
                made = self._made[index] = values, regime_of(vcpu, self._pa_bits)
            regime = self._regimes[index] = made[1]
            if not self._alone and regime.sctlr.M and not regime.tcr.EPD1:
                self._note_kernel(vcpu, regime.ttbr1 & _BADDR)
        return regime

    def regime(self, index: int) -> Regime:
        """Return the translation regime that a vCPU is in, read once until ``forget``."""
        return self._regime(index)

    def kernels(self) -> list[int]:
        """Return the values of TTBR1_EL1 that were seen at EL1, the latest first."""
        return list(reversed(self._kernels))

    def _note_kernel(self, vcpu: Vcpu, ttbr1: int) -> None:
        if self._kernels and self._kernels[-1] == ttbr1:
            return
        if PSTATE(vcpu.get(CPSR)).EL == 1:
            if ttbr1 in self._kernels:
                self._kernels.remove(ttbr1)
            self._kernels.append(ttbr1)

    def _pieces(self, index: int, gva: int, length: int) -> Iterator[Mapping]:
        """Where the range lies, as ``mmu.pieces``; *length* is not 0."""
        read, gva = self._machine.read_memory, gva % _TOP
        regime = self._regime(index)
        found = pieces(regime, gva, length, read)
        try:
            first = next(found)
        except MemoryFault:
            for kernel in self._kernels_for(index, gva):
                found = pieces(regime._replace(ttbr1=kernel), gva, length, read)
                with suppress(MemoryFault):
                    first = next(found)
                    break
            else:
                raise
        yield first
        yield from found

    def _kernels_for(self, index: int, gva: int) -> list[int]:
        """Other values of TTBR1_EL1 to look *gva* up by, where the vCPU's own has failed."""
        vcpus = self._machine.vcpus
        if self._alone or not gva & _UPPER or PSTATE(vcpus[index].get(CPSR)).EL != 0:
            return []
        for other in range(len(vcpus)):
            self._regime(other)  # those at EL1 are noted now: what was seen longer ago comes last
        return list(reversed(self._kernels))

    def translate(self, vcpu: int, gva: int) -> Mapping:
        """Where *gva* lies for this vCPU.

        Raises:
            MemoryFault: no translation.
        """
        # The same few addresses are asked for again and again: a look at the descriptors says as
        # much as a walk along them.
        regime = self._regime(vcpu)
        path = self._paths.get((vcpu, gva))
        if path is None or path.regime is not regime or not path.holds():
            try:
                path = _Path(regime, gva, self._machine)
            except MemoryFault:
                if self._alone:
                    raise
                return next(self._pieces(vcpu, gva, 1))
            if len(self._paths) >= _PATHS:
                self._paths.clear()
            self._paths[vcpu, gva] = path
        return path.mapping

    def walk(self, vcpu: int, gva: int) -> Walk:
        """How *gva* is translated by what this vCPU's registers say now; raises nothing."""
        return walk(self._regime(vcpu), gva % _TOP, self._machine.read_memory)

    def read(self, vcpu: int, gva: int, length: int) -> bytes:
        """Read *length* bytes, short where they end.

        Raises:
            MemoryFault: the first byte cannot be read.
        """
        if self._last is not None and vcpu == self._last[0]:
            _, start, mapping = self._last
            if start <= gva and gva + length <= start + mapping.size:
                return self.read_physical(mapping.ipa + gva - start, length)
        parts: list[bytes] = []
        left = length
        try:
            for mapping in self._pieces(vcpu, gva, length):
                if not self._alone:
                    self._last = vcpu, gva + length - left, mapping
                wanted = min(left, mapping.size)
                part = self._machine.read_memory(mapping.ipa, wanted)
                parts.append(self._breakpoints.mask(mapping.ipa, part))
                left -= len(part)
                if len(part) < wanted:
                    break
        except MemoryFault:
            if not parts:
                raise
        return b"".join(parts)

    def read_physical(self, ipa: int, length: int) -> bytes:
        """Read RAM by its physical address, short at its end.

        Raises:
            MemoryFault: no RAM at *ipa*.
        """
        return self._breakpoints.mask(ipa, self._machine.read_memory(ipa, length))

    def write_physical(self, ipa: int, data: bytes) -> None:
        """Write RAM by its physical address, all of it or nothing.

        Raises:
            MemoryFault: not all of it is RAM.
        """
        self._last = None  # it may be a translation table
        if len(self._machine.read_memory(ipa, len(data))) < len(data):
            raise MemoryFault(f"RAM ends within {len(data)} bytes at {ipa:#x}")
        self._machine.write_memory(ipa, self._breakpoints.write_through(ipa, data))

    def write(self, vcpu: int, gva: int, data: bytes) -> None:
        """Write *data*, all of it or nothing.

        Raises:
            MemoryFault: some byte has no place.
        """
        self._last = None  # it may be a translation table
        places: list[tuple[int, bytes]] = []
        at = 0
        for mapping in self._pieces(vcpu, gva, len(data)):
            part = data[at : at + mapping.size]
            if len(self._machine.read_memory(mapping.ipa, len(part))) < len(part):
                raise MemoryFault(f"RAM ends within {len(data)} bytes at {gva:#x}")
            places.append((mapping.ipa, part))
            at += len(part)
        for ipa, part in places:
            self._machine.write_memory(ipa, self._breakpoints.write_through(ipa, part))
