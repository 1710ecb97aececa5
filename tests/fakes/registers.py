"""The project's register rows in Unicorn's terms.

Unicorn keeps the stack pointer in use apart from the banks and does not swap them when
PSTATE is written from outside: both are put right here.
"""

from typing import Final

from unicorn import arm64_const as uc_const
from unicorn.unicorn_py3.arch.arm64 import UcAArch64

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    FPCR,
    FPSR,
    MPIDR_EL1,
    PC,
    SP_EL0,
    SP_EL1,
    SPSR_EL1,
    SYSTEM_REGISTERS,
    V,
    X,
    stack_pointer,
)
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.architecture import Register
from gdbstub.errors import NoSuchRegister, RegisterRefused

EL0t: Final = 0b0000
EL1t: Final = 0b0100
EL1h: Final = 0b0101

#: System registers that Unicorn keeps as a CPU does.
SYSTEM: Final = (
    *(SP_EL0, SP_EL1, ELR_EL1, SPSR_EL1),
    *(
        SYSTEM_REGISTERS[name]
        for name in (
            *("SCTLR_EL1", "CPACR_EL1", "TTBR0_EL1", "TTBR1_EL1", "TCR_EL1", "MAIR_EL1"),
            *("PAR_EL1", "VBAR_EL1", "ESR_EL1", "FAR_EL1"),
            *("CONTEXTIDR_EL1", "TPIDR_EL1", "TPIDR_EL0", "TPIDRRO_EL0", "MDSCR_EL1"),
            *(f"DBG{kind}{n}_EL1" for kind in ("BVR", "BCR", "WVR", "WCR") for n in range(4)),
            *("MIDR_EL1", "MPIDR_EL1", "CTR_EL0", "CLIDR_EL1"),
            *("ID_AA64PFR0_EL1", "ID_AA64DFR0_EL1", "ID_AA64ISAR0_EL1", "ID_AA64MMFR0_EL1"),
            "DCZID_EL0",
        )
    ),
)

MPIDR_KEY: Final = (3, 0, 0, 0, 5)
CNTVCT_KEY: Final = (3, 3, 14, 0, 2)
_SCTLR_KEY: Final = (3, 0, 1, 0, 0)
_CSSELR_KEY: Final = (3, 2, 0, 0, 0)
_SCR_EL3_KEY: Final = (3, 6, 1, 1, 0)
_SCR_EL3_RW: Final = 1 << 10

# What KVM resets to (VCPU_INIT).
RESET_PSTATE: Final = 0x3C5
RESET_SCTLR: Final = 0xC5_0078

_PLAIN: Final = {
    **{x.id: uc_const.UC_ARM64_REG_X0 + n for n, x in enumerate(X[:29])},
    X[29].id: uc_const.UC_ARM64_REG_X29,
    X[30].id: uc_const.UC_ARM64_REG_X30,
    **{v.id: uc_const.UC_ARM64_REG_V0 + n for n, v in enumerate(V)},
    PC.id: uc_const.UC_ARM64_REG_PC,
    FPSR.id: uc_const.UC_ARM64_REG_FPSR,
    FPCR.id: uc_const.UC_ARM64_REG_FPCR,
    ELR_EL1.id: uc_const.UC_ARM64_REG_ELR_EL1,
}
_BANKS: Final = {
    SP_EL0.id: uc_const.UC_ARM64_REG_SP_EL0,
    SP_EL1.id: uc_const.UC_ARM64_REG_SP_EL1,
}
_SYSREG_CLASS: Final = 0x13
# CRn of the registers that are IMPLEMENTATION DEFINED (Arm ARM D18.3): none here.
_NOBODYS_CRN: Final = (11, 15)


def _key(register: Register) -> tuple[int, int, int, int, int]:
    """``op0, op1, crn, crm, op2`` of a system register's row."""
    if register.id == SPSR_EL1.id:
        return 3, 0, 4, 0, 0
    if register.id >> 16 & 0xFFF != _SYSREG_CLASS:
        raise NoSuchRegister(f"this vCPU has no {register.name}")
    n = register.id & 0xFFFF
    if n >> 7 & 15 in _NOBODYS_CRN:
        raise NoSuchRegister(f"this vCPU has no {register.name}")
    return n >> 14, n >> 11 & 7, n >> 7 & 15, n >> 3 & 15, n & 7


class RegisterFile:
    """The registers of one Unicorn instance, by row."""

    def __init__(self, uc: UcAArch64, mpidr: int) -> None:
        self._uc = uc
        self._mpidr = mpidr
        # Unicorn's CPU has EL3; without this an ERET in EL1 is an illegal one.
        uc.cpr_write(*_SCR_EL3_KEY, uc.cpr_read(*_SCR_EL3_KEY) | _SCR_EL3_RW)
        uc.cpr_write(*_SCTLR_KEY, RESET_SCTLR)
        self.set(CPSR, RESET_PSTATE)

    @property
    def pc(self) -> int:
        return int(self._uc.reg_read(uc_const.UC_ARM64_REG_PC))

    @property
    def pstate(self) -> PSTATE:
        return PSTATE(self._uc.reg_read(uc_const.UC_ARM64_REG_PSTATE))

    def get(self, register: Register) -> int:
        if register.id == CPSR.id:
            return int(self.pstate)
        if register.id == MPIDR_EL1.id:
            return self._mpidr
        if register.id in _BANKS:
            in_use = stack_pointer(self.pstate).id == register.id
            return int(
                self._uc.reg_read(uc_const.UC_ARM64_REG_SP if in_use else _BANKS[register.id])
            )
        if (plain := _PLAIN.get(register.id)) is not None:
            return int(self._uc.reg_read(plain))
        return self._uc.cpr_read(*_key(register))

    def set(self, register: Register, value: int) -> None:
        if register.id == CPSR.id:
            self._set_pstate(PSTATE(value))
        elif register.id in _BANKS:
            self._uc.reg_write(_BANKS[register.id], value)
            if stack_pointer(self.pstate).id == register.id:
                self._uc.reg_write(uc_const.UC_ARM64_REG_SP, value)
        elif (plain := _PLAIN.get(register.id)) is not None:
            self._uc.reg_write(plain, value)
        else:
            key = _key(register)
            if key[0] == 3 and key[2] == 0 and key != _CSSELR_KEY:
                raise RegisterRefused(f"{register.name} is fixed")
            self._uc.cpr_write(*key, value)

    def _set_pstate(self, new: PSTATE) -> None:
        if new & 0x1F not in (EL0t, EL1t, EL1h):
            raise RegisterRefused(f"PSTATE {new:#x} names no mode that this vCPU has")
        uc = self._uc
        uc.reg_write(_BANKS[stack_pointer(self.pstate).id], uc.reg_read(uc_const.UC_ARM64_REG_SP))
        uc.reg_write(uc_const.UC_ARM64_REG_PSTATE, int(new))
        uc.reg_write(uc_const.UC_ARM64_REG_SP, uc.reg_read(_BANKS[stack_pointer(new).id]))
        # What QEMU caches of the EL is computed anew only by a write like this one.
        uc.cpr_write(*_SCTLR_KEY, uc.cpr_read(*_SCTLR_KEY))
