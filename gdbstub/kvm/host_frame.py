"""Frames of big replies by A64 instructions: escapes and checksum in one pass.

``rsp.encode`` defines a frame, and encodes the small ones.
"""

import functools
import os
from collections.abc import Callable
from typing import Final

from gdbstub import rsp
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.host_memory import Code, executable

#: The size up to which Python is as fast, in bytes.
_SMALL: Final = 1024

#: ``size_t frame(to, from, length)``: copy, escape ``#``, ``$``, ``*`` and ``}``, and add up what
#: is written; the sum's 8 bits, and above them how much that is. Eight bytes are looked at as
#: one word: v ^ c has a byte of 0 where v has c, and (w - 0x01…) & ~w has bit 7 set of the lowest
#: byte that is 0. Where there is one, these eight are done each by itself.
FRAME: Final[Code] = (
    (0xAA0003E8, "mov x8, x0"),
    (0xD2800009, "mov x9, #0"),
    (0xB200C3EA, "mov x10, #0x0101010101010101"),
    (0xD280046B, "mov x11, #35"),
    (0x9B0A7D6B, "mul x11, x11, x10"),
    (0xD280048C, "mov x12, #36"),
    (0x9B0A7D8C, "mul x12, x12, x10"),
    (0xD280054D, "mov x13, #42"),
    (0x9B0A7DAD, "mul x13, x13, x10"),
    (0xD2800FAE, "mov x14, #125"),
    (0x9B0A7DCE, "mul x14, x14, x10"),
    (0xB2009FEF, "mov x15, #0x00ff00ff00ff00ff"),
    (0xB20083F0, "mov x16, #0x0001000100010001"),
    (0xF1002042, "subs x2, x2, #8"),
    (0x540003A3, "b.lo . + 116"),
    (0xF8408423, "ldr x3, [x1], #8"),
    (0xCA0B0064, "eor x4, x3, x11"),
    (0xCB0A0085, "sub x5, x4, x10"),
    (0x8A2400A4, "bic x4, x5, x4"),
    (0xCA0C0065, "eor x5, x3, x12"),
    (0xCB0A00A6, "sub x6, x5, x10"),
    (0x8A2500C5, "bic x5, x6, x5"),
    (0xAA050084, "orr x4, x4, x5"),
    (0xCA0D0065, "eor x5, x3, x13"),
    (0xCB0A00A6, "sub x6, x5, x10"),
    (0x8A2500C5, "bic x5, x6, x5"),
    (0xAA050084, "orr x4, x4, x5"),
    (0xCA0E0065, "eor x5, x3, x14"),
    (0xCB0A00A6, "sub x6, x5, x10"),
    (0x8A2500C5, "bic x5, x6, x5"),
    (0xAA050084, "orr x4, x4, x5"),
    (0xF201C09F, "tst x4, #0x8080808080808080"),
    (0x54000101, "b.ne . + 32"),
    (0xF8008403, "str x3, [x0], #8"),
    (0x8A0301E4, "and x4, x15, x3"),
    (0x8A4321E3, "and x3, x15, x3, lsr #8"),
    (0x8B040063, "add x3, x3, x4"),
    (0x9B107C63, "mul x3, x3, x16"),
    (0x8B43C129, "add x9, x9, x3, lsr #48"),
    (0x17FFFFE6, "b . - 104"),
    (0xD1002021, "sub x1, x1, #8"),
    (0xD2800107, "mov x7, #8"),
    (0x14000004, "b . + 16"),
    (0xB1002047, "adds x7, x2, #8"),
    (0xD2800002, "mov x2, #0"),
    (0x54000260, "b.eq . + 76"),
    (0xB4FFFBE7, "cbz x7, . - 132"),
    (0xD10004E7, "sub x7, x7, #1"),
    (0x38401423, "ldrb w3, [x1], #1"),
    (0x71008C7F, "cmp w3, #35"),
    (0x540000E0, "b.eq . + 28"),
    (0x7100907F, "cmp w3, #36"),
    (0x540000A0, "b.eq . + 20"),
    (0x7100A87F, "cmp w3, #42"),
    (0x54000060, "b.eq . + 12"),
    (0x7101F47F, "cmp w3, #125"),
    (0x540000A1, "b.ne . + 20"),
    (0x52800FA4, "mov w4, #125"),
    (0x38001404, "strb w4, [x0], #1"),
    (0x8B040129, "add x9, x9, x4"),
    (0x521B0063, "eor w3, w3, #32"),
    (0x38001403, "strb w3, [x0], #1"),
    (0x8B030129, "add x9, x9, x3"),
    (0x17FFFFEF, "b . - 68"),
    (0xCB080000, "sub x0, x0, x8"),
    (0x92401D29, "and x9, x9, #0xff"),
    (0xAA002120, "orr x0, x9, x0, lsl #8"),
    (0xD65F03C0, "ret"),
)


@functools.cache
def _function() -> tuple[Callable[[int, int, int], int], CData, int, bytearray]:
    (address,), page = executable(FRAME)
    function = ffi.cast("size_t (*)(uintptr_t, uintptr_t, size_t)", address)
    buffer = bytearray(2 * rsp.PACKET_SIZE + len(b"$#00"))
    buffer[:1] = b"$"
    return function, page, int(ffi.cast("uintptr_t", ffi.from_buffer(buffer))), buffer


def encoder() -> Callable[[bytes], bytes]:
    """Return the fastest function of this host that encodes a frame."""
    return encode if os.uname().machine == "aarch64" else rsp.encode


def encode(payload: bytes) -> bytes:
    """Encode a frame as ``rsp.encode`` does; for the event loop's thread alone."""
    if not _SMALL <= len(payload) <= rsp.PACKET_SIZE:
        return rsp.encode(payload)
    frame, _, to, buffer = _function()
    done = frame(to + 1, int(ffi.cast("uintptr_t", ffi.from_buffer(payload))), len(payload))
    end = 1 + (done >> 8)
    buffer[end : end + 3] = b"#%02x" % (done & 0xFF)
    return bytes(memoryview(buffer)[: end + 3])
