"""Patch sites: places of a kernel's text that the kernel itself checks or rewrites.

ftrace, kprobes and live patching look at the word before they write, and give up for good where
it is not what they left. Source: linux/arch/arm64/kernel/ftrace.c (ftrace_modify_code),
linux/arch/arm64/kernel/jump_label.c, linux/arch/arm64/include/asm/ftrace.h.
"""

import struct
from typing import Final

_NOP: Final = 0xD503201F
#: ``MOV X9, X30``, the first of ftrace's two words once it has seen the function.
_MOV_X9_LR: Final = 0xAA1E03E9
_SITE_WORDS: Final = frozenset({_NOP, _MOV_X9_LR})
#: The first word of nearly every function: BTI c, BTI jc, PACIASP, PACIBSP.
_ENTRIES: Final = frozenset({0xD503245F, 0xD50324DF, 0xD503233F, 0xD503237F})
#: ``STP X29, X30, [SP, #-n]!`` and ``SUB SP, SP, #n``: the first word of a function without any of
#: these.
_FRAME_MASK, _FRAME = 0xFFC07FFF, 0xA9807BFD
_STACK_MASK, _STACK = 0xFF8003FF, 0xD10003FF
#: ``B``, in place of the NOP of a static key that is switched on.
_BRANCH_MASK, _BRANCH = 0xFC000000, 0x14000000
#: ``BL``, the second of ftrace's words while a function is traced.
_CALL_MASK, _CALL = 0xFC000000, 0x94000000
#: ``BRK``: what kprobes, uprobes and kgdb put into text, and take out again.
_BRK_MASK, _BRK = 0xFFE0001F, 0xD4200000
_MASKED: Final = (
    (_FRAME_MASK, _FRAME),
    (_STACK_MASK, _STACK),
    (_BRANCH_MASK, _BRANCH),
    (_BRK_MASK, _BRK),
)
#: The bytes around an address that are looked at: one word before it, one behind.
BEFORE: Final = 4
AROUND: Final = 12


def is_patch_site(around: bytes) -> bool:
    """Return True if a kernel may check or rewrite the middle word of *around*, three words.

    A NOP within two words of a function's beginning is ftrace's; a function's first word is
    where kprobes are set. A BRK and a branch may be there for a while only. The word before is 0
    if it is not known: behind it may be ftrace's call.
    """
    before, here, behind = struct.unpack("<3I", around.ljust(AROUND, b"\0"))  # RAM may end there
    if here in _SITE_WORDS or behind in _SITE_WORDS or before in _SITE_WORDS:
        return True
    if not before and here & _CALL_MASK == _CALL:
        return True
    return here in _ENTRIES or any(here & mask == word for mask, word in _MASKED)
