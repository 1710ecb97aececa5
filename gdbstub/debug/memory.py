"""Guest memory as one vCPU's translation tables map it, with our breakpoints hidden.

Only RAM is read and written, never a device.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from gdbstub.aarch64.mmu import Mapping, Regime, Walk, pa_bits, pieces, walk
from gdbstub.aarch64.registers import (
    CPSR,
    ID_AA64MMFR0_EL1,
    SCTLR_EL1,
    TCR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
    stack_pointer,
)
from gdbstub.aarch64.sysreg import PSTATE, SCTLR, TCR
from gdbstub.debug.address_spaces import TABLE, is_upper
from gdbstub.debug.caches import Cache, Caches, Content
from gdbstub.debug.ram_comparison import unchanged
from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine, Power, Vcpu
from gdbstub.swbp import SoftwareBreakpoints

_TOP: Final = 1 << 64
_PATHS: Final = 256
#: Bytes below the stack pointer that are the kernel's stack even if nothing is on it.
_BELOW_STACK: Final = 16
_VCPUS: Final = 4096
_REGIME: Final = (SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1)


def regime_of(vcpu: Vcpu, bits: int = 0) -> Regime:
    """Return the translation regime that *vcpu* is in now.

    *bits* is the size of a physical address, if that is known already.
    """
    return Regime(
        SCTLR(vcpu.get(SCTLR_EL1)),
        TCR(vcpu.get(TCR_EL1)),
        vcpu.get(TTBR0_EL1),
        vcpu.get(TTBR1_EL1),
        bits or pa_bits(vcpu.get(ID_AA64MMFR0_EL1)),
    )


class _Path:
    """Walk that led to RAM. ``holds`` is true while RAM holds the descriptors on it."""

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
        self.holds = unchanged(machine, descriptors)


class VirtualMemory:
    """Memory by virtual address, for use while all vCPUs are parked.

    ``live`` is the same memory for a vCPU's own thread while the others run. It goes by that
    vCPU's registers as they are now, as an instruction does.

    A kernel that unmaps itself from its processes (Linux's KPTI) has next to nothing in
    TTBR1_EL1 while at EL0. Its addresses are then looked up in the tables that EL1 uses on
    another vCPU now, or was last seen to use. ``live`` does not do that.
    """

    live: "VirtualMemory"

    def __init__(
        self,
        machine: Machine,
        breakpoints: SoftwareBreakpoints,
        caches: Caches,
        *,
        parked: "VirtualMemory | None" = None,
    ) -> None:
        """Make ``live`` as well. That one alone is made with the memory for *parked* vCPUs."""
        self._machine = machine
        self._breakpoints = breakpoints
        self._caches = caches
        self._is_live = parked is not None
        self._pa_bits = 0
        #: Values of TTBR1_EL1 seen at EL1, the latest last. Two, for a kernel is at EL1 with
        #: either of its own on the way out.
        self._kernels: deque[int] = deque(maxlen=2)
        # Regimes by vCPU, and with the registers' values that they follow from.
        self._regimes: Cache[int, Regime]
        self._decoded: Cache[int, tuple[tuple[int, ...], Regime]]
        self._paths: Cache[tuple[int, int], _Path]  # by vCPU and address
        # Where the last piece of a read lies, by vCPU: its address and mapping. The next read
        # often goes on from there.
        self._last: Cache[int, tuple[int, Mapping]]
        if parked is not None:
            self._regimes, self._last = parked._regimes, parked._last
            self._decoded, self._paths = parked._decoded, parked._paths
            self.live = self
        else:
            self._regimes = caches.add("regimes", Content.REGISTERS, Cache(_VCPUS))
            self._decoded = caches.add("decoded regimes", Content.CHECKED, Cache(_VCPUS))
            self._paths = caches.add("table walks", Content.CHECKED, Cache(_PATHS))
            self._last = caches.add("last mapping", Content.TRANSLATIONS, Cache(_VCPUS))
            self.live = VirtualMemory(machine, breakpoints, caches, parked=self)

    def forget_kernels(self) -> None:
        """Forget the tables that EL1 was seen to use, because the guest starts over."""
        self._kernels.clear()

    def _regime(self, index: int) -> Regime:
        if self._is_live:
            return self._read_regime(index)
        if (regime := self._regimes.get(index)) is None:
            regime = self._read_regime(index)
            self._regimes.put(index, regime)
            if regime.sctlr.M and not regime.tcr.EPD1:
                self._note_kernel(self._machine.vcpus[index], regime)
        return regime

    def _read_regime(self, index: int) -> Regime:
        """Read a vCPU's registers. While their values are the same, so is the object returned."""
        vcpu = self._machine.vcpus[index]
        values = tuple(vcpu.get(row) for row in _REGIME)
        decoded = self._decoded.entries.get(index)
        if decoded is None or decoded[0] != values:
            if not self._pa_bits:  # the same for all vCPUs
                self._pa_bits = pa_bits(vcpu.get(ID_AA64MMFR0_EL1))
            decoded = values, regime_of(vcpu, self._pa_bits)
            self._decoded.put(index, decoded)
            self._decoded.misses += 1
        else:
            self._decoded.hits += 1
        return decoded[1]

    def regime(self, index: int) -> Regime:
        """Return the translation regime that a vCPU is in, read once until that runs."""
        return self._regime(index)

    def kernels(self) -> list[int]:
        """Return the values of TTBR1_EL1 that were seen at EL1, the latest first."""
        return list(reversed(self._kernels))

    def _note_kernel(self, vcpu: Vcpu, regime: Regime) -> None:
        ttbr1 = regime.ttbr1 & TABLE
        if len(self._kernels) == 1 and self._kernels[0] == ttbr1:
            return
        pstate = PSTATE(vcpu.get(CPSR))
        if pstate.EL != 1 or vcpu.power is Power.OFF:
            return
        if ttbr1 in self._kernels:
            self._kernels.remove(ttbr1)
        # A kernel's own tables map its stack; a trampoline's do not. Earlier tables, those of its
        # boot, are dead then: their memory may be used for something else.
        stack = vcpu.get(stack_pointer(pstate)) - _BELOW_STACK
        if walk(regime, stack % _TOP, self._machine.read_memory).mapping is not None:
            self._kernels.clear()
        self._kernels.append(ttbr1)

    def _pieces(self, index: int, gva: int, length: int) -> Iterator[Mapping]:
        """Yield where the range lies, as ``mmu.pieces``; *length* is not 0."""
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
        """Return other values of TTBR1_EL1 to try, where *gva* has no mapping by the vCPU's own."""
        vcpus = self._machine.vcpus
        if self._is_live or not is_upper(gva) or PSTATE(vcpus[index].get(CPSR)).EL != 0:
            return []
        for other in range(len(vcpus)):
            self._regime(other)  # notes the tables of those at EL1, as the latest
        return list(reversed(self._kernels))

    def translate(self, vcpu: int, gva: int) -> Mapping:
        """Return where *gva* lies for this vCPU.

        Raises:
            MemoryFault: no translation.
        """
        # The same few addresses are translated again and again, and comparing the descriptors
        # costs less than walking along them.
        regime = self._regime(vcpu)
        path = self._paths.get((vcpu, gva))
        if path is None or path.regime is not regime or not path.holds():
            try:
                path = _Path(regime, gva, self._machine)
            except MemoryFault:
                if self._is_live:
                    raise
                return next(self._pieces(vcpu, gva, 1))
            self._paths.put((vcpu, gva), path)
        return path.mapping

    def walk(self, vcpu: int, gva: int) -> Walk:
        """Return the steps of translating *gva* by this vCPU's registers; raises nothing."""
        return walk(self._regime(vcpu), gva % _TOP, self._machine.read_memory)

    def read(self, vcpu: int, gva: int, length: int) -> bytes:
        """Read *length* bytes, short where they end.

        Raises:
            MemoryFault: the first byte cannot be read.
        """
        if not self._is_live and (last := self._last.get(vcpu)) is not None:
            start, mapping = last
            if start <= gva and gva + length <= start + mapping.size:
                return self.read_physical(mapping.ipa + gva - start, length)
        parts: list[bytes] = []
        left = length
        try:
            for mapping in self._pieces(vcpu, gva, length):
                if not self._is_live:
                    self._last.put(vcpu, (gva + length - left, mapping))
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

    def has_breakpoints(self, ipa: int, length: int) -> bool:
        """Return True if RAM from *ipa* on has BRKs of ours, which reading hides."""
        return self._breakpoints.within(ipa, length)

    def write_physical(self, ipa: int, data: bytes) -> None:
        """Write RAM by its physical address, all of it or nothing.

        Raises:
            MemoryFault: not all of it is RAM.
        """
        if len(self._machine.read_memory(ipa, len(data))) < len(data):
            raise MemoryFault(f"RAM ends within {len(data)} bytes at {ipa:#x}")
        self._write(((ipa, data),))

    def write(self, vcpu: int, gva: int, data: bytes) -> None:
        """Write *data*, all of it or nothing.

        Raises:
            MemoryFault: some byte has no place.
        """
        places: list[tuple[int, bytes]] = []
        at = 0
        for mapping in self._pieces(vcpu, gva, len(data)):
            part = data[at : at + mapping.size]
            if len(self._machine.read_memory(mapping.ipa, len(part))) < len(part):
                raise MemoryFault(f"RAM ends within {len(data)} bytes at {gva:#x}")
            places.append((mapping.ipa, part))
            at += len(part)
        self._write(places)

    def _write(self, places: Iterable[tuple[int, bytes]]) -> None:
        try:
            for ipa, part in places:
                self._breakpoints.write(ipa, part)
        finally:
            self._caches.invalidate(Content.MEMORY_WRITTEN)
