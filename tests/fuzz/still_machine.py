"""A ``Machine`` that executes nothing: a script says what the guest and its vCPUs do.

It is as fast to make as a fuzzer needs, and a vCPU's exits can be any that a hostile guest causes.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from gdbstub.aarch64.registers import (
    CPSR,
    ID_AA64MMFR0_EL1,
    PC,
    SCTLR_EL1,
    SYSTEM_REGISTERS,
    TCR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
    VBAR_EL1,
)
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.architecture import Register
from gdbstub.errors import MachineError, MemoryFault, RegisterRefused
from gdbstub.machine import (
    Capabilities,
    DebugExit,
    DebugRegisters,
    Exit,
    Listener,
    Power,
    RunMode,
)
from tests.fakes.machine import Unattended
from tests.tables import Tables

BASE: Final = 0x4000_0000
SIZE: Final = 0x8000
#: The kernel's addresses: its text, at the beginning of RAM, and its tables at ``TABLES``.
TEXT: Final = 0xFFFF_8000_0800_0000
TABLES: Final = BASE + 0x4000
_MODES: Final = (0b0000, 0b0100, 0b0101, 0x10)


def _tables() -> Tables:
    tables = Tables(base=TABLES)
    for page in range(4):
        tables.map(TEXT + 0x1000 * page, BASE + 0x1000 * page)
    tables.map(0x40_0000, BASE + 0x3000)
    return tables


_TABLES: Final = _tables()
_RAM: Final = bytearray(b"\x1f\x20\x03\xd5" * (SIZE // 4))
for _ipa, _data in _TABLES.content().items():
    _RAM[_ipa - BASE : _ipa - BASE + 8] = _data
_RESET: Final = {
    PC.id: TEXT,
    CPSR.id: 0x3C5,
    SCTLR_EL1.id: SCTLR.of(M=1),
    TCR_EL1.id: TCR.of(**_TABLES.tcr()),
    TTBR0_EL1.id: _TABLES.ttbr,
    TTBR1_EL1.id: _TABLES.ttbr,
    VBAR_EL1.id: TEXT + 0x800,
    ID_AA64MMFR0_EL1.id: 5,
}
#: Few, since each input makes a client's view of them; a vCPU has all.
_SYSTEM: Final = tuple(
    SYSTEM_REGISTERS[name]
    for name in (
        *("SP_EL0", "SP_EL1", "ELR_EL1", "SPSR_EL1", "SCTLR_EL1", "TTBR0_EL1", "TTBR1_EL1"),
        *("TCR_EL1", "ESR_EL1", "FAR_EL1", "VBAR_EL1", "MDSCR_EL1", "CONTEXTIDR_EL1"),
        *("DBGBVR0_EL1", "DBGBCR0_EL1", "DBGWVR0_EL1", "DBGWCR0_EL1", "ID_AA64MMFR0_EL1"),
    )
)


class StillVcpu:
    """Registers, which a guest may have set to anything; the kernel refuses a mode without name."""

    def __init__(self) -> None:
        self.power = Power.ON
        self.values: dict[int, int] = dict(_RESET)

    def get(self, register: Register) -> int:
        return self.values.get(register.id, 0)

    def set(self, register: Register, value: int) -> None:
        assert 0 <= value < 1 << max(register.bits, 64), (register.name, value)
        if register is CPSR and value & 0x1F not in _MODES:
            raise RegisterRefused(f"PSTATE {value:#x} names no mode that this vCPU has")
        self.values[register.id] = value


class StillMachine:
    """Two vCPUs at EL1 with the MMU on, in a page of NOPs."""

    def __init__(self, vcpus: int = 2) -> None:
        self.listener: Listener = Unattended()
        self.vcpus: Sequence[StillVcpu] = [StillVcpu() for _ in range(vcpus)]
        self.breakpoint_slots = 6
        self.watchpoint_slots = 4
        self.vector_length = 0
        self.pointer_authentication = False
        self.system_registers: Sequence[Register] = _SYSTEM
        self.ram = bytearray(_RAM)
        self.armed = DebugRegisters()
        #: Run mode of each vCPU since the last resume; empty while all are parked.
        self.modes: dict[int, RunMode] = {}
        self._interrupted = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(reset=self)

    def read_memory(self, ipa: int, length: int) -> bytes:
        assert length >= 0
        if not BASE <= ipa < BASE + SIZE:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        return bytes(self.ram[ipa - BASE : ipa - BASE + length])

    def write_memory(self, ipa: int, data: bytes, *, temporary: bool = False) -> None:
        if not BASE <= ipa <= ipa + len(data) <= BASE + SIZE:
            raise MemoryFault(f"no RAM for {len(data)} bytes at {ipa:#x}")
        self.ram[ipa - BASE : ipa - BASE + len(data)] = data

    def arm(self, debug: DebugRegisters) -> None:
        assert not self.modes, "arm while a vCPU runs"
        if len(debug.breakpoints) > 6 or len(debug.watchpoints) > 4:
            raise MachineError("more comparators than slots")
        self.armed = debug

    def resume(self, modes: Mapping[int, RunMode]) -> None:
        assert not self.modes, "resume while a vCPU runs"
        assert modes
        self._check(modes)
        self.modes = dict(modes)
        self._interrupted = False

    def _check(self, modes: Mapping[int, RunMode]) -> None:
        for mode in modes.values():
            debug = mode.comparators(self.armed)
            assert len(debug.breakpoints) <= 6, debug
            assert len(debug.watchpoints) <= 4, debug

    def interrupt(self) -> None:
        self._interrupted = True

    def start_exclusive(self, vcpu: int) -> bool:
        return True

    def end_exclusive(self, vcpu: int) -> None:
        pass

    def reset(self) -> None:
        assert not self.modes, "reset while a vCPU runs"
        self.vcpus = [StillVcpu() for _ in self.vcpus]
        self.ram[:] = _RAM

    def close(self) -> None:
        pass

    # What a script does to the guest.

    def exit(self, exit: Exit) -> None:
        """Have a vCPU exit, if one runs; park all if that, or an interrupt, is a stop."""
        if not self.modes:
            return
        exits: list[Exit] = []
        if exit.vcpu in self.modes:
            mode = self.listener.debug_exit(exit) if isinstance(exit, DebugExit) else None
            if mode is not None:
                self._check({exit.vcpu: mode})
                self.modes[exit.vcpu] = mode
            elif not isinstance(exit, DebugExit):
                exits.append(exit)
            if mode is None:
                self._interrupted = True
        if self._interrupted:
            self.modes = {}
            self.listener.parked(exits)
