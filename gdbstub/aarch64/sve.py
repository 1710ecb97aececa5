"""Registers of the Scalable Vector Extension, for each length that a vector may have.

Source: linux/Documentation/virt/kvm/api.rst, 4.68; Arm ARM B1.2.
"""

from functools import cache
from typing import Final

from gdbstub.aarch64.registers import FPCR, FPSR
from gdbstub.architecture import Register

SVE: Final = "org.gnu.gdb.aarch64.sve"

#: The unit of vector lengths, in bits.
QUADWORD: Final = 128
MAX_BITS: Final = 2048

_SVE_CLASS: Final = 0x6000_0000_0015_0000
_Z_SIZE: Final = 0x0080 << 48
_P_SIZE: Final = 0x0050 << 48

#: Bit n stands for vectors of n + 1 quadwords; written before KVM_ARM_VCPU_FINALIZE.
VLS: Final = Register("KVM_REG_ARM64_SVE_VLS", 512, 0x6060_0000_0015_FFFF)
#: The length of the z registers, in 64-bit granules.
VG: Final = Register("vg", 64, 0, "int", SVE, 85)


@cache
def sve_registers(bits: int) -> tuple[Register, ...]:
    """Return the rows of a vCPU whose longest vectors have *bits*, in the order of their numbers.

    KVM's registers have room for the longest vectors of all; bits above *bits* read as 0.
    """
    vectors = (
        Register(f"z{n}", bits, _SVE_CLASS | _Z_SIZE | n << 5, "svev", SVE, 34 + n)
        for n in range(32)
    )
    status = (
        Register(row.name, row.bits, row.id, row.type, SVE, row.number) for row in (FPSR, FPCR)
    )
    predicates = (
        Register(name, bits // 8, _SVE_CLASS | _P_SIZE | 0x400 | n << 5, "svep", SVE, 68 + n)
        for n, name in enumerate((*(f"p{n}" for n in range(16)), "ffr"))
    )
    return (*vectors, *status, *predicates, VG)


def vector_lengths(vls: int) -> tuple[int, ...]:
    """Return the vector lengths that a value of ``VLS`` names, in bits, the shortest first."""
    return tuple(QUADWORD * (n + 1) for n in range(MAX_BITS // QUADWORD) if vls >> n & 1)
