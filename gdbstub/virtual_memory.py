"""A guest's memory as one of its vCPUs sees it, breakpoints of ours hidden.

It reads and writes RAM only: what a device would answer is nobody's business here.
"""

from gdbstub.aarch64.mmu import PA_BITS, Mapping, Regime, Walk, pieces, translate, walk
from gdbstub.aarch64.registers import (
    ID_AA64MMFR0_EL1,
    SCTLR_EL1,
    TCR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
)
from gdbstub.aarch64.sysreg import ID_AA64MMFR0, SCTLR, TCR
from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine, Vcpu
from gdbstub.swbp import SoftwareBreakpoints

_TOP: int = 1 << 64


def regime_of(vcpu: Vcpu) -> Regime:
    """The translation regime that *vcpu* is in now."""
    return Regime(
        SCTLR(vcpu.get(SCTLR_EL1)),
        TCR(vcpu.get(TCR_EL1)),
        vcpu.get(TTBR0_EL1),
        vcpu.get(TTBR1_EL1),
        PA_BITS[ID_AA64MMFR0(vcpu.get(ID_AA64MMFR0_EL1)).PARange & 7],
    )


class VirtualMemory:
    """Reads and writes by virtual address; all vCPUs parked."""

    def __init__(self, machine: Machine, breakpoints: SoftwareBreakpoints) -> None:
        self._machine = machine
        self._breakpoints = breakpoints
        self._regimes: dict[int, Regime] = {}

    def forget(self) -> None:
        """A vCPU may have run, or a register been written: ask anew."""
        self._regimes.clear()

    def as_of_now(self) -> "VirtualMemory":
        """The same, asking anew, for a vCPU's thread: it may have switched tables since a stop."""
        return VirtualMemory(self._machine, self._breakpoints)

    def _regime(self, vcpu: int) -> Regime:
        if (regime := self._regimes.get(vcpu)) is None:
            regime = self._regimes[vcpu] = regime_of(self._machine.vcpus[vcpu])
        return regime

    def translate(self, vcpu: int, gva: int) -> Mapping:
        """Where *gva* lies for this vCPU.

        Raises:
            MemoryFault: no translation.
        """
        return translate(self._regime(vcpu), gva % _TOP, self._machine.read_memory)

    def walk(self, vcpu: int, gva: int) -> Walk:
        """How *gva* is translated by what this vCPU's registers say now; raises nothing."""
        return walk(self._regime(vcpu), gva % _TOP, self._machine.read_memory)

    def read(self, vcpu: int, gva: int, length: int) -> bytes:
        """Read *length* bytes, short where they end.

        Raises:
            MemoryFault: the first byte cannot be read.
        """
        parts: list[bytes] = []
        left = length
        try:
            for mapping in pieces(
                self._regime(vcpu), gva % _TOP, length, self._machine.read_memory
            ):
                wanted = min(left, mapping.size)
                part = self._machine.read_memory(mapping.ipa, wanted)
                parts.append(self._breakpoints.hide(mapping.ipa, part))
                left -= len(part)
                if len(part) < wanted:
                    break
        except MemoryFault:
            if not parts:
                raise
        return b"".join(parts)

    def write(self, vcpu: int, gva: int, data: bytes) -> None:
        """Write *data*, all of it or nothing.

        Raises:
            MemoryFault: some byte has no place.
        """
        places: list[tuple[int, bytes]] = []
        at = 0
        for mapping in pieces(self._regime(vcpu), gva % _TOP, len(data), self._machine.read_memory):
            part = data[at : at + mapping.size]
            if len(self._machine.read_memory(mapping.ipa, len(part))) < len(part):
                raise MemoryFault(f"RAM ends within {len(data)} bytes at {gva:#x}")
            places.append((mapping.ipa, part))
            at += len(part)
        for ipa, part in places:
            self._machine.write_memory(ipa, self._breakpoints.keep(ipa, part))
