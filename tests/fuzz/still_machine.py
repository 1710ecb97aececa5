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
from gdbstub.errors import MemoryFault, RegisterRefused
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
_TEXT_SIZE: Final = 0x4000
#: Addresses of a program, and its offset in RAM.
_PROGRAM: Final = range(0x40_0000, 0x40_1000)
_PROGRAM_AT: Final = 0x3000
_MODES: Final = (0b0000, 0b0100, 0b0101, 0x10)


def _tables() -> Tables:
    tables = Tables(base=TABLES)
    for page in range(4):
        tables.map(TEXT + 0x1000 * page, BASE + 0x1000 * page)
    tables.map(_PROGRAM.start, BASE + _PROGRAM_AT)
    return tables


_TABLES: Final = _tables()
#: Code at the beginning of the text, with whatever a plan treats in a way of its own. Behind it
#: are NOPs.
_CODE: Final = (
    *(0xD503201F, 0x91000400, 0xC85F7C20, 0x91000400),  # NOP, ADD, LDXR X0, [X1], ADD
    *(0xC8027C20, 0x35FFFFA2, 0xF9400020, 0xF9000020),  # STXR W2, X0; CBNZ W2, LDXR; LDR; STR
    *(0x94000004, 0x54000040, 0x17FFFFF6, 0xD65F03C0),  # BL; B.EQ; B back; RET
    *(0xD53B4220, 0xD50342DF, 0xD50342FF, 0xD51B4220),  # MRS DAIF; DAIFSET; DAIFCLR; MSR DAIF
    *(0xD503207F, 0xD503205F, 0xD4000001, 0xD4000002),  # WFI, WFE, SVC, HVC
    *(0x36000040, 0xB4000041, 0xD61F0060, 0xD63F0060),  # TBZ, CBZ, BR X3, BLR X3
    *(0xD5033FDF, 0xD5100240, 0xD69F03E0, 0xD503245F),  # ISB, MSR MDSCR_EL1, ERET, BTI
    *(0x885FFC20, 0x6B02001F, 0x54000061, 0x88037C24),  # LDAXR; CMP; B.NE; STXR W3, W4, [X1]
    *(0x35FFFF83, 0xD4200000, 0x00000000, 0x14000000),  # CBNZ W3; BRK; UDF; B .
)
#: Address of the kernel's banner, and that.
BANNER_AT: Final = TEXT + 0xF00
BANNER: Final = "Linux version 6.1\n"
_RAM: Final = bytearray(b"\x1f\x20\x03\xd5" * (SIZE // 4))
_RAM[: 4 * len(_CODE)] = b"".join(word.to_bytes(4, "little") for word in _CODE)
_RAM[BANNER_AT - TEXT : BANNER_AT - TEXT + len(BANNER)] = BANNER.encode()
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
        assert len(debug.breakpoints) <= 6, debug
        assert len(debug.watchpoints) <= 4, debug
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

    def fetch(self, pc: int) -> int | None:
        """Return the instruction at *pc* in the text or the program, None if it is elsewhere."""
        for mapped, offset in ((range(TEXT, TEXT + _TEXT_SIZE), 0), (_PROGRAM, _PROGRAM_AT)):
            if pc in mapped and not pc % 4:
                at = pc - mapped.start + offset
                return int.from_bytes(self.ram[at : at + 4], "little")
        return None

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
        self.halt(exits)

    def halt(self, exits: Sequence[Exit] = ()) -> None:
        """Park all vCPUs if an interrupt, or a stop, is asked for."""
        if self.modes and self._interrupted:
            self.modes = {}
            self.listener.parked(exits)
