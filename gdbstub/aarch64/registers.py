"""The AArch64 registers, one row each, in GDB's order and with KVM's ids.

It reads and writes nothing: a ``Vcpu`` does, and a row is its key.
"""

from dataclasses import dataclass
from typing import Final

from gdbstub.aarch64.sysreg import PSTATE

CORE: Final = "org.gnu.gdb.aarch64.core"
FPU: Final = "org.gnu.gdb.aarch64.fpu"


@dataclass(frozen=True, slots=True, eq=False)
class Register:
    """One register.

    ``id`` is what KVM_GET_ONE_REG takes (linux/Documentation/virt/kvm/api.rst, 4.68);
    ``feature`` the target description that shows it to a client, ``None`` for a register
    that only the debugger itself reads.
    """

    name: str
    bits: int
    id: int
    type: str = "int"
    feature: str | None = None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.bits // 8


_SIZE: Final = {32: 0x0020 << 48, 64: 0x0030 << 48, 128: 0x0040 << 48}
_ARM64: Final = 0x6000 << 48


def core_id(offset: int, bits: int = 64) -> int:
    """The id of the member at byte *offset* of ``struct kvm_regs``."""
    return _ARM64 | _SIZE[bits] | 0x10 << 16 | offset // 4


def sysreg_id(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """The id of a system register, by its encoding in MRS."""
    return _ARM64 | _SIZE[64] | 0x13 << 16 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


def _x(n: int) -> Register:
    return Register(f"x{n}", 64, core_id(8 * n), feature=CORE)


def _v(n: int) -> Register:
    return Register(f"v{n}", 128, core_id(0x150 + 16 * n, 128), "aarch64v", FPU)


X: Final = tuple(_x(n) for n in range(31))
V: Final = tuple(_v(n) for n in range(32))

# The stack pointer in use is one of these by PSTATE: see ``stack_pointer``.
SP: Final = Register("sp", 64, 0, "data_ptr", CORE)
SP_EL0: Final = Register("SP_EL0", 64, core_id(0xF8))
SP_EL1: Final = Register("SP_EL1", 64, core_id(0x110))

PC: Final = Register("pc", 64, core_id(0x100), "code_ptr", CORE)
# KVM's member is 64 bits wide; no bit above 31 is defined, and GDB wants 32.
CPSR: Final = Register("cpsr", 32, core_id(0x108), "cpsr_flags", CORE)
FPSR: Final = Register("fpsr", 32, core_id(0x350, 32), "int", FPU)
FPCR: Final = Register("fpcr", 32, core_id(0x354, 32), "int", FPU)

ELR_EL1: Final = Register("ELR_EL1", 64, core_id(0x118))
SPSR_EL1: Final = Register("SPSR_EL1", 64, core_id(0x120))

SCTLR_EL1: Final = Register("SCTLR_EL1", 64, sysreg_id(3, 0, 1, 0, 0))
TTBR0_EL1: Final = Register("TTBR0_EL1", 64, sysreg_id(3, 0, 2, 0, 0))
TTBR1_EL1: Final = Register("TTBR1_EL1", 64, sysreg_id(3, 0, 2, 0, 1))
TCR_EL1: Final = Register("TCR_EL1", 64, sysreg_id(3, 0, 2, 0, 2))
ESR_EL1: Final = Register("ESR_EL1", 64, sysreg_id(3, 0, 5, 2, 0))
FAR_EL1: Final = Register("FAR_EL1", 64, sysreg_id(3, 0, 6, 0, 0))
VBAR_EL1: Final = Register("VBAR_EL1", 64, sysreg_id(3, 0, 12, 0, 0))
MDSCR_EL1: Final = Register("MDSCR_EL1", 64, sysreg_id(2, 0, 0, 2, 2))
MPIDR_EL1: Final = Register("MPIDR_EL1", 64, sysreg_id(3, 0, 0, 0, 5))

#: The virtual counter; KVM's ids of it and of CNTV_CVAL are each other's by an accident of ABI.
CNTVCT_EL0: Final = Register("CNTVCT_EL0", 64, sysreg_id(3, 3, 14, 3, 2))

#: What a client sees, in its numbering: a register's number is its place here.
CLIENT: Final = (*X, SP, PC, CPSR, *V, FPSR, FPCR)
NUMBER: Final = {register.name: number for number, register in enumerate(CLIENT)}

#: What a stop reply carries: enough that GDB asks for nothing to show a frame.
EXPEDITED: Final = (*X, SP, PC, CPSR)


def stack_pointer(pstate: PSTATE) -> Register:
    """The row that ``sp`` stands for in this PSTATE (Arm ARM D1.2.2; R13 is X13 in AArch32)."""
    if pstate.nRW:
        return X[13]
    return SP_EL1 if pstate.SP and pstate.EL == 1 else SP_EL0
