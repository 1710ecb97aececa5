"""The AArch64 registers, one row each, in GDB's order and with KVM's ids.

It reads and writes nothing: a ``Vcpu`` does, and a row is its key. The ``id`` of a row is the
argument of KVM_GET_ONE_REG (linux/Documentation/virt/kvm/api.rst, 4.68). It is 0 where a client's
register follows from others and no vCPU has it as such.
"""

from typing import Final

from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.aarch64.system_registers import TABLE, Mrs
from gdbstub.architecture import Register

CORE: Final = "org.gnu.gdb.aarch64.core"
FPU: Final = "org.gnu.gdb.aarch64.fpu"
PAUTH: Final = "org.gnu.gdb.aarch64.pauth_v2"
TLS: Final = "org.gnu.gdb.aarch64.tls"
#: A name of our own: GDB expects certain registers in features of its own names.
SYSTEM: Final = "org.kvm-gdbstub.aarch64.system"


_SIZE: Final = {32: 0x0020 << 48, 64: 0x0030 << 48, 128: 0x0040 << 48}
_ARM64: Final = 0x6000 << 48


def core_id(offset: int, bits: int = 64) -> int:
    """Return the id of the member at byte *offset* of ``struct kvm_regs``."""
    return _ARM64 | _SIZE[bits] | 0x10 << 16 | offset // 4


def sysreg_id(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """Return the id of a system register by its encoding in MRS."""
    return _ARM64 | _SIZE[64] | 0x13 << 16 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


def _x(n: int) -> Register:
    return Register(f"x{n}", 64, core_id(8 * n), feature=CORE, number=n)


def _v(n: int) -> Register:
    return Register(f"v{n}", 128, core_id(0x150 + 16 * n, 128), "aarch64v", FPU, 34 + n)


def _banked(name: str, number: int, offset: int, type_: str) -> Register:
    """Return the row of a system register that KVM keeps in ``struct kvm_regs``."""
    return Register(name, 64, core_id(offset), type_, SYSTEM, number)


# KVM has the ids of these two swapped, by a mistake that is part of its ABI (uapi/asm/kvm.h).
_SWAPPED: Final = {"CNTVCT_EL0": (3, 3, 14, 3, 2), "CNTV_CVAL_EL0": (3, 3, 14, 0, 2)}
_ISTATUS: Final = 1 << 2
_MOVING: Final = {
    "CNTVCT_EL0": (1 << 64) - 1,
    "CNTPCT_EL0": (1 << 64) - 1,
    "CNTV_CTL_EL0": _ISTATUS,
    "CNTP_CTL_EL0": _ISTATUS,
}


def _system(row: Mrs, number: int) -> Register:
    id_ = sysreg_id(*_SWAPPED.get(row.name, row[1:6]))
    type_ = row.shown_as if isinstance(row.shown_as, str) else row.shown_as.__name__
    return Register(row.name, 64, id_, type_, SYSTEM, number, _MOVING.get(row.name, 0))


X: Final = tuple(_x(n) for n in range(31))
V: Final = tuple(_v(n) for n in range(32))

# Which of these ``sp`` is depends on PSTATE: see ``stack_pointer``.
SP: Final = Register("sp", 64, 0, "data_ptr", CORE, 31)
#: An integer: scripts shift it, since Linux keeps ``current`` in it.
SP_EL0: Final = _banked("SP_EL0", 0x200, 0xF8, "uint64")
SP_EL1: Final = _banked("SP_EL1", 0x201, 0x110, "data_ptr")

PC: Final = Register("pc", 64, core_id(0x100), "code_ptr", CORE, 32)
# KVM's member is 64 bits wide; no bit above 31 is defined, and GDB wants 32.
# It says which stack pointer ``sp`` is, and KVM cuts PC to 32 bits in AArch32.
CPSR: Final = Register("cpsr", 32, core_id(0x108), "cpsr_flags", CORE, 33, leads=True)
FPSR: Final = Register("fpsr", 32, core_id(0x350, 32), "int", FPU, 66)
FPCR: Final = Register("fpcr", 32, core_id(0x354, 32), "int", FPU, 67)

ELR_EL1: Final = _banked("ELR_EL1", 0x202, 0x118, "code_ptr")
SPSR_EL1: Final = _banked("SPSR_EL1", 0x203, 0x120, "SPSR")
#: The value that MRS reads depends on CSSELR_EL1: see ``ccsidr``.
CCSIDR_EL1: Final = Register("CCSIDR_EL1", 32, 0x6020_0000_0011_0000, "uint32", SYSTEM, 0x208)
_BANKED: Final = (
    *(SP_EL0, SP_EL1, ELR_EL1, SPSR_EL1),
    _banked("SPSR_abt", 0x204, 0x128, "uint64"),
    _banked("SPSR_und", 0x205, 0x130, "uint64"),
    _banked("SPSR_irq", 0x206, 0x138, "uint64"),
    _banked("SPSR_fiq", 0x207, 0x140, "uint64"),
    CCSIDR_EL1,
)

#: All system registers that any machine shows, by name. Their numbers do not depend on which of
#: them a machine has, and leave room for more registers of GDB's.
SYSTEM_REGISTERS: Final = {row.name: row for row in _BANKED} | {
    row.name: _system(row, 0x210 + place) for place, row in enumerate(TABLE)
}

SCTLR_EL1: Final = SYSTEM_REGISTERS["SCTLR_EL1"]
TTBR0_EL1: Final = SYSTEM_REGISTERS["TTBR0_EL1"]
TTBR1_EL1: Final = SYSTEM_REGISTERS["TTBR1_EL1"]
CSSELR_EL1: Final = SYSTEM_REGISTERS["CSSELR_EL1"]
TCR_EL1: Final = SYSTEM_REGISTERS["TCR_EL1"]
ESR_EL1: Final = SYSTEM_REGISTERS["ESR_EL1"]
FAR_EL1: Final = SYSTEM_REGISTERS["FAR_EL1"]
VBAR_EL1: Final = SYSTEM_REGISTERS["VBAR_EL1"]
MDSCR_EL1: Final = SYSTEM_REGISTERS["MDSCR_EL1"]
ID_AA64PFR1_EL1: Final = SYSTEM_REGISTERS["ID_AA64PFR1_EL1"]
ID_AA64MMFR0_EL1: Final = SYSTEM_REGISTERS["ID_AA64MMFR0_EL1"]
ID_AA64ISAR0_EL1: Final = SYSTEM_REGISTERS["ID_AA64ISAR0_EL1"]
ID_AA64ISAR2_EL1: Final = SYSTEM_REGISTERS["ID_AA64ISAR2_EL1"]
MPIDR_EL1: Final = SYSTEM_REGISTERS["MPIDR_EL1"]
CNTVCT_EL0: Final = SYSTEM_REGISTERS["CNTVCT_EL0"]
DCZID_EL0: Final = SYSTEM_REGISTERS["DCZID_EL0"]

# Client registers: numbers 0 to 85 are GDB's own (gdb/arch/aarch64.h), of which SVE takes 34 on.

#: The registers in a ``g`` packet.
GENERAL: Final = (*X, SP, PC, CPSR)
#: The registers in a stop reply. With these GDB needs no ``g`` between steps, and at most one to
#: show a frame, if a variable is in another register. Each costs a system call a stop.
EXPEDITED: Final = (X[29], X[30], SP, PC, CPSR)
#: Vectors, FPSR and FPCR of a vCPU without SVE; ``sve.py`` has those of one with SVE.
FPSIMD: Final = (*V, FPSR, FPCR)
#: Masks of the bits that hold a PAC: of pointers to data and code, in the low and the high half.
PAC_MASKS: Final = tuple(
    Register(name, 64, 0, "uint64", PAUTH, 86 + n)
    for n, name in enumerate(("pauth_dmask", "pauth_cmask", "pauth_dmask_high", "pauth_cmask_high"))
)
#: Registers by QEMU's names, as integers: gef locates a kernel by VBAR, and pwndbg sees by SCTLR
#: that the MMU is on.
QEMU_NAMES: Final = (
    Register("VBAR", 64, VBAR_EL1.id, VBAR_EL1.type, SYSTEM, 0x209),
    Register("SCTLR", 64, SCTLR_EL1.id, "uint64", SYSTEM, 0x20A),
)
TPIDR: Final = Register("tpidr", 64, SYSTEM_REGISTERS["TPIDR_EL0"].id, "data_ptr", TLS, 90)


#: PSTATE.M: whether it is AArch32, the exception level, and the stack pointer.
_M: Final = 0x1F
#: The row that ``sp`` is, by PSTATE.M (Arm ARM D1.2.2; R13 is X13 in AArch32).
_STACK_POINTERS: Final = tuple(
    X[13] if mode.nRW else SP_EL1 if mode.SP and mode.EL == 1 else SP_EL0
    for mode in map(PSTATE, range(_M + 1))
)


def stack_pointer(pstate: int) -> Register:
    """Return the row that ``sp`` is in this PSTATE."""
    return _STACK_POINTERS[pstate & _M]


def ccsidr(csselr: int) -> Register:
    """Return the row that CCSIDR_EL1 is with this CSSELR_EL1 (KVM_REG_ARM_DEMUX_ID_CCSIDR)."""
    row = CCSIDR_EL1
    return Register(row.name, row.bits, row.id | csselr & 0xF, row.type, row.feature, row.number)
