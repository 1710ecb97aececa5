"""Registers as a client sees them: all rows, and how each is read from and written to a vCPU."""

from struct import Struct
from typing import Final

from gdbstub.aarch64.pointer_auth import pac_mask
from gdbstub.aarch64.registers import (
    CCSIDR_EL1,
    CORE,
    CPSR,
    CSSELR_EL1,
    FPSIMD,
    GENERAL,
    PAC_MASKS,
    PAUTH,
    QEMU_NAMES,
    SCTLR_EL1,
    SP,
    SP_EL0,
    SP_EL1,
    TCR_EL1,
    TPIDR,
    X,
    ccsidr,
    stack_pointer,
)
from gdbstub.aarch64.sve import VG, sve_registers
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.architecture import Register
from gdbstub.errors import NoSuchRegister, RegisterRefused
from gdbstub.machine import Machine, Vcpu

#: By mask: true for the high half of addresses, and true for code.
_MASKS: Final = dict(
    zip(PAC_MASKS, ((False, False), (False, True), (True, False), (True, True)), strict=True)
)


_PSTATE: Final = (1 << CPSR.bits) - 1


class ClientRegisters:
    """Registers of one machine. They are the same for its whole life."""

    def __init__(self, machine: Machine) -> None:
        """Collect the rows of *machine*'s vCPUs."""
        bits = machine.vector_length
        self._granules = bits // 64
        #: Rows that a client sees, in the order of their numbers. Vectors are SVE's or FPSIMD's:
        #: GDB rejects a description with both.
        self.rows: tuple[Register, ...] = (
            *GENERAL,
            *(sve_registers(bits) if bits else FPSIMD),
            *(PAC_MASKS if machine.pointer_authentication else ()),
            TPIDR,
            *_system(machine),
        )
        #: Rows by number.
        self.numbered = {row.number: row for row in self.rows}
        #: Packers of the core registers that a client reads together; None for other registers.
        self._packers: dict[tuple[Register, ...], _Packer | None] = {}

    def read_many(self, vcpu: Vcpu, registers: tuple[Register, ...]) -> bytes:
        """Read registers; return their bytes one after another."""
        try:
            packer = self._packers[registers]
        except KeyError:
            core = all(row.feature == CORE for row in registers)
            packer = self._packers[registers] = _Packer(registers) if core else None
        if packer is not None:
            return packer.read(vcpu)
        values = ((self.read(vcpu, r), r.size) for r in registers)
        return b"".join(value.to_bytes(size, "little") for value, size in values)

    def read(self, vcpu: Vcpu, register: Register) -> int:
        """Return a register's value, cut to its bits."""
        if register is VG:
            return self._granules
        if register.feature == PAUTH:
            return _pac_mask(vcpu, register)
        try:
            return vcpu.get(_meant(vcpu, register)) & (1 << register.bits) - 1
        except NoSuchRegister:
            if register is CCSIDR_EL1:
                return 0  # no cache is selected: the register reads as UNKNOWN
            raise

    def is_common(self, register: Register) -> bool:
        """Return True if *register* has the same value for every thread of a guest."""
        return register is VG or register.feature == PAUTH

    def write(self, vcpu: Vcpu, register: Register, value: int) -> None:
        """Write a register completely or not at all.

        Raises:
            RegisterRefused: the register does not hold *value*, and is as it was.
        """
        if register is VG or register.feature == PAUTH:
            if value != self.read(vcpu, register):
                raise RegisterRefused(f"{register.name} follows from other registers")
        elif register.feature == CORE:
            vcpu.set(_meant(vcpu, register), value)
        else:
            _set_whole(vcpu, _meant(vcpu, register), value)


def _system(machine: Machine) -> list[Register]:
    """Return the machine's system registers, some by QEMU's names as well."""
    rows = machine.system_registers
    ids = {row.id for row in rows}
    more = [row for row in QEMU_NAMES if row.id in ids]
    return sorted((*rows, *more), key=lambda row: row.number)


class _Packer:
    """Reads some core registers and packs their values, on the way to each stop reply."""

    def __init__(self, registers: tuple[Register, ...]) -> None:
        """Prepare to read *registers*."""
        self._struct = Struct("<" + "".join("Q" if row.bits == 64 else "I" for row in registers))
        #: The vCPU's rows, by the one that is the stack pointer.
        self._rows = {
            stack: tuple(stack if row is SP else row for row in registers)
            for stack in (SP_EL0, SP_EL1, X[13])  # see ``stack_pointer``
        }
        self._cpsr = [n for n, row in enumerate(registers) if row is CPSR]

    def read(self, vcpu: Vcpu) -> bytes:
        """Return the registers' bytes one after another."""
        get = vcpu.get
        pstate = get(CPSR)
        values = list(map(get, self._rows[stack_pointer(pstate)]))
        for n in self._cpsr:
            values[n] = pstate & _PSTATE
        return self._struct.pack(*values)


def _meant(vcpu: Vcpu, register: Register) -> Register:
    """Return the row of the vCPU that a client's register stands for now."""
    if register is SP:
        return stack_pointer(vcpu.get(CPSR))
    if register is CCSIDR_EL1:
        return ccsidr(vcpu.get(CSSELR_EL1))
    return register


def _pac_mask(vcpu: Vcpu, register: Register) -> int:
    sctlr, tcr = SCTLR(vcpu.get(SCTLR_EL1)), TCR(vcpu.get(TCR_EL1))
    high, code = _MASKS[register]
    return pac_mask(sctlr, tcr, high=high, code=code)


def _set_whole(vcpu: Vcpu, register: Register, value: int) -> None:
    """Write a register that may not keep every bit.

    A bit that is not implemented (RES0, for example) reads back differently. Such a value is
    refused, because a client that is told OK takes it to be there.
    """
    before = vcpu.get(register)
    vcpu.set(register, value)
    if lost := (vcpu.get(register) ^ value) & ~register.moving:
        vcpu.set(register, before)
        raise RegisterRefused(f"{register.name} does not take bits {lost:#x} of {value:#x}")
