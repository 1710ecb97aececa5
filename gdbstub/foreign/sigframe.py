"""Signal frames of arm64 Linux: a thread's context in memory, which rt_sigreturn restores.

A thread that makes our system calls has such a frame on its stack. When its tracer ends in the
middle, the thread returns by the frame to what it did before.
Source: linux/arch/arm64/kernel/signal.c, linux/arch/arm64/include/uapi/asm/sigcontext.h.
"""

import struct
from typing import Final

from gdbstub.kvm.abi import CData

#: Offsets in ``struct rt_sigframe``: siginfo_t, then ucontext_t with its mask and sigcontext.
_MASK: Final = 128 + 40
_CONTEXT: Final = 128 + 176
_REGS: Final = _CONTEXT + 8
_RECORDS: Final = _CONTEXT + 288

_FPSIMD_MAGIC: Final = 0x46508001
_FPSIMD_SIZE: Final = 528

#: Bytes of a frame, its terminating record included.
SIZE: Final = _RECORDS + _FPSIMD_SIZE + 16

#: ``mov x8, #139; svc #0``: rt_sigreturn, as the vDSO's ``__kernel_rt_sigreturn`` has it.
SIGRETURN: Final = struct.pack("<II", 0xD2801168, 0xD4000001)
#: ``svc #0; ret``: a system call that returns to the address in x30.
SYSCALL_RETURN: Final = struct.pack("<II", 0xD4000001, 0xD65F03C0)
#: ``svc #0``.
SVC: Final = SYSCALL_RETURN[:4]


def encode(regs: CData, vectors: CData, mask: int) -> bytes:
    """Encode a frame that restores ``struct user_pt_regs``, ``user_fpsimd_state`` and the mask.

    The alternate stack is left alone: a size of 0 is refused, and the refusal ignored.
    """
    frame = bytearray(SIZE)
    struct.pack_into("<Q", frame, _MASK, mask)
    struct.pack_into("<34Q", frame, _REGS, *regs.regs, regs.sp, regs.pc, regs.pstate)
    header = (_FPSIMD_MAGIC, _FPSIMD_SIZE, vectors.fpsr, vectors.fpcr)
    struct.pack_into("<4I", frame, _RECORDS, *header)
    frame[_RECORDS + 16 : _RECORDS + 16 + 512] = bytes(vectors.vregs)
    return bytes(frame)
