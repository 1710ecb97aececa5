"""The guest programs of the contract, as words with their assembly beside them.

The lab has no assembler; ``test_programs.py`` assembles each line outside it and compares.
An address in the text is relative to its own line (``.``); a line's number is its index.
"""

from dataclasses import dataclass
from typing import Final

BASE: Final = 0x4000_0000
#: Free for data: no program reaches it, and every test's RAM does.
DATA: Final = BASE + 0x1_0000
#: Address of the tests' exception vectors, and offset of EL1h's synchronous one.
VECTORS: Final = BASE + 0x8000
SYNC_EL1H: Final = VECTORS + 0x200


@dataclass(frozen=True, slots=True)
class Program:
    """Words and their text, line by line."""

    lines: tuple[tuple[int, str], ...]

    @property
    def image(self) -> bytes:
        """The program's bytes in memory."""
        return b"".join(word.to_bytes(4, "little") for word, _ in self.lines)

    @property
    def text(self) -> str:
        """The program as assembly source, of which an assembler makes ``image``."""
        return "\n".join(text for _, text in self.lines)

    def __len__(self) -> int:
        return len(self.lines)


def at(line: int) -> int:
    """The address of a line of the program at ``BASE``."""
    return BASE + 4 * line


def program(*lines: tuple[int, str]) -> Program:
    return Program(lines)


SPIN: Final = program(
    (0x14000000, "b ."),
)

COUNT: Final = program(
    (0xB1000400, "adds x0, x0, #1"),
    (0x17FFFFFF, "b . - 4"),
)

# x28 is ahead of x29 by one at most, and so is that of x30.
COUNTS_IN_FRAME: Final = program(
    (0x9100079C, "add x28, x28, #1"),
    (0xAA1C03FD, "mov x29, x28"),
    (0xAA1D03FE, "mov x30, x29"),
    (0x17FFFFFD, "b . - 12"),
)

# What a breakpoint's instruction is done by without executing it.
COMPUTES: Final = program(
    (0xD28000E1, "mov x1, #7"),
    (0xF2A00021, "movk x1, #1, lsl #16"),
    (0x91001022, "add x2, x1, #4"),
    (0xD10043FF, "sub sp, sp, #16"),
    (0x10000043, "adr x3, . + 8"),
    (0x90000004, "adrp x4, . + 0x1000"),
    (0x94000002, "bl . + 8"),
    (0x14000003, "b . + 12"),
    (0xAA1E03E5, "mov x5, x30"),
    (0xD65F03C0, "ret"),
    (0xB4000040, "cbz x0, . + 8"),
    (0xD4200020, "brk #1"),
    (0x37000041, "tbnz w1, #0, . + 8"),
    (0xD4200020, "brk #1"),
    (0x54000041, "b.ne . + 8"),
    (0xD4200020, "brk #1"),
    (0x14000000, "b ."),
)

# x1: how often.
LOOPS: Final = program(
    (0x91000400, "add x0, x0, #1"),
    (0xF1000421, "subs x1, x1, #1"),
    (0x54FFFFC1, "b.ne . - 8"),
    (0x14000000, "b ."),
)

# The same, with more ways out than there are comparators; x2 is not to be 0.
LOOPS_WITH_EXITS: Final = program(
    (0x91000400, "add x0, x0, #1"),
    *[(0xB4000262, "cbz x2, . + 76")] * 16,
    (0xF1000421, "subs x1, x1, #1"),
    (0x54FFFDC1, "b.ne . - 72"),
    (0x14000000, "b ."),
)

LOOPS_BY_A_BRANCH: Final = program(
    (0x91000400, "add x0, x0, #1"),
    (0xF1000421, "subs x1, x1, #1"),
    (0x54000080, "b.eq . + 16"),
    (0x17FFFFFD, "b . - 12"),
    (0x14000000, "b ."),
    (0x14000000, "b ."),
    (0x14000000, "b ."),
)

# x0: where; x1: how often.
FILLS: Final = program(
    (0xF8008402, "str x2, [x0], #8"),
    (0xF1000421, "subs x1, x1, #1"),
    (0x54FFFFC1, "b.ne . - 8"),
    (0x14000000, "b ."),
)

STRAIGHT: Final = program(
    (0xD2800020, "mov x0, #1"),
    (0x91000400, "add x0, x0, #1"),
    (0xD503201F, "nop"),
    (0xD28000E1, "mov x1, #7"),
    (0x14000000, "b ."),
)

STACK_POINTER: Final = program(
    (0x910003E0, "mov x0, sp"),
    (0x910003E1, "mov x1, sp"),
    (0x14000000, "b ."),
)

VECTOR_COPY: Final = program(
    (0x4EA01C01, "mov v1.16b, v0.16b"),
    (0xD4200020, "brk #1"),
)

VECTORS_OF_SVE: Final = program(
    (0x04BF5020, "rdvl x0, #1"),
    (0x04603001, "mov z1.d, z0.d"),
    (0x25804001, "mov p1.b, p0.b"),
    (0x2519F002, "rdffr p2.b"),
    (0xD4200020, "brk #1"),
)

#: A pointer to code is signed, authenticated, and signed again.
SIGNS: Final = program(
    (0xDAC123E0, "paciza x0"),
    (0xAA0003E1, "mov x1, x0"),
    (0xDAC133E0, "autiza x0"),
    (0xD4200020, "brk #1"),
)

#: Any exception of any mode: BRK at each of the sixteen vectors, numbered.
EVERY_VECTOR: Final = program(
    *(
        line
        for number in range(16)
        for line in (
            (0xD4200000 | number << 5, f"brk #{number}"),
            *(31 * ((0xD503201F, "nop"),)),
        )
    )
)

ONE_THEN_BRK: Final = program(
    (0xD2800020, "mov x0, #1"),
    (0xD4200020, "brk #1"),
)
#: A program to write over the first line of ``ONE_THEN_BRK``.
TWO: Final = program((0xD2800040, "mov x0, #2"))

BREAKS: Final = program(
    (0xD4202460, "brk #0x123"),
    (0xD43FFFE0, "brk #0xffff"),
    (0x14000000, "b ."),
)

BREAK_THEN_SPIN: Final = program(
    (0xD4200020, "brk #1"),
    (0x14000000, "b ."),
)

# x0: an address in RAM, 16-byte aligned.
ACCESSES: Final = program(
    (0xF9400001, "ldr x1, [x0]"),
    (0xF9000002, "str x2, [x0]"),
    (0x39401403, "ldrb w3, [x0, #5]"),
    (0x39001404, "strb w4, [x0, #5]"),
    (0xF9002004, "str x4, [x0, #64]"),
    (0xD4200020, "brk #1"),
)

# x0: an address where no RAM is.
DEVICE: Final = program(
    (0xF9400001, "ldr x1, [x0]"),
    (0x17FFFFFF, "b . - 4"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

READS_CLOCK: Final = program(
    (0xD53BE041, "mrs x1, cntvct_el0"),
    (0xD53BE002, "mrs x2, cntfrq_el0"),
    (0x14000000, "b ."),
)

# One instruction of each class that meets PSTATE, or takes or leaves an exception.
STEPPED: Final = program(
    (0x91000400, "add x0, x0, #1"),
    (0xD53B4221, "mrs x1, daif"),
    (0xD53B423F, "mrs xzr, daif"),
    (0xD51B4222, "msr daif, x2"),
    (0xD50342DF, "msr daifset, #2"),
    (0xD5034FDF, "msr daifset, #15"),
    (0xD50344DF, "msr daifset, #4"),
    (0xD50342FF, "msr daifclr, #2"),
    (0xD50343FF, "msr daifclr, #3"),
    (0xD5034FFF, "msr daifclr, #15"),
    (0xD69F03E0, "eret"),
    (0xD4000001, "svc #0"),
    (0x00000000, "udf #0"),
    (0xD5384003, "mrs x3, spsr_el1"),
    (0xD5184002, "msr spsr_el1, x2"),
    (0xD5384023, "mrs x3, elr_el1"),
    (0xD5184022, "msr elr_el1, x2"),
    (0xD61F0080, "br x4"),
    (0x14000000, "b ."),
)

SLIDE: Final = program(
    *[(0xD503201F, "nop")] * 16,
    (0xD4200020, "brk #1"),
)

# x0: an address in RAM.
STORES: Final = program(
    *[(0xF8008402, "str x2, [x0], #8")] * 16,
    (0xD4200020, "brk #1"),
)

# x0: the address of line 6; w1: a word to put there.
PATCHES_ITSELF: Final = program(
    (0xB9000001, "str w1, [x0]"),
    (0xD50B7B20, "dc cvau, x0"),
    (0xD5033B9F, "dsb ish"),
    (0xD50B7520, "ic ivau, x0"),
    (0xD5033B9F, "dsb ish"),
    (0xD5033FDF, "isb"),
    (0xD503201F, "nop"),
    (0xD4200020, "brk #1"),
)

# x0: the address of line 0; w1: a word to put there, for the second lap.
LOOPS_AND_PATCHES_ITSELF: Final = program(
    (0x91000463, "add x3, x3, #1"),
    *PATCHES_ITSELF.lines[:6],
    (0x17FFFFF9, "b . - 28"),
    *[(0x14000000, "b .")] * 2,
)

# x0: what SCTLR_EL1 shall be; x1: where to go on, by a virtual address.
MMU_ON: Final = program(
    (0xD5181000, "msr sctlr_el1, x0"),
    (0xD5033FDF, "isb"),
    (0xD61F0020, "br x1"),
)

SYSTEM_OFF: Final = program(
    (0x52800100, "mov w0, #8"),
    (0x72B08000, "movk w0, #0x8400, lsl #16"),
    (0xD4000002, "hvc #0"),
    (0x14000000, "b ."),
)

SYSTEM_RESET: Final = program(
    (0x52800120, "mov w0, #9"),
    (0x72B08000, "movk w0, #0x8400, lsl #16"),
    (0xD4000002, "hvc #0"),
    (0x14000000, "b ."),
)

# An exception handler: notes what it finds where HVC leaves it (x0 to x3 are results), and
# switches off.
HANDLER: Final = program(
    (0xD5385213, "mrs x19, esr_el1"),
    (0xD5384034, "mrs x20, elr_el1"),
    (0xD5384015, "mrs x21, spsr_el1"),
    *SYSTEM_OFF.lines,
)

#: An exception handler that has done nothing about it.
ERET: Final = program((0xD69F03E0, "eret"))

# vCPU 1 starts at line 7 with 0x55 in x0.
SECONDARY: Final = program(
    (0x52800060, "mov w0, #3"),
    (0x72B88000, "movk w0, #0xc400, lsl #16"),
    (0xD2800021, "mov x1, #1"),
    (0x10000082, "adr x2, . + 16"),
    (0xD2800AA3, "mov x3, #0x55"),
    (0xD4000002, "hvc #0"),
    (0x14000000, "b ."),
    (0x91000404, "add x4, x0, #1"),
    (0xD4200040, "brk #2"),
    (0x91000400, "add x0, x0, #1"),
    (0x17FFFFFF, "b . - 4"),
)

# vCPU 1 starts at line 7 with DATA in x0, and stores there.
SECONDARY_STORES: Final = program(
    *SECONDARY.lines[:4],
    (0xD2A80023, "mov x3, #0x40010000"),
    *SECONDARY.lines[5:7],
    (0xF9000004, "str x4, [x0]"),
    (0xD4200040, "brk #2"),
)

# vCPU 1 starts at line 12 and switches itself off; vCPU 0 sees that in AFFINITY_INFO.
SECONDARY_LEAVES: Final = program(
    (0x52800060, "mov w0, #3"),
    (0x72B88000, "movk w0, #0xc400, lsl #16"),
    (0xD2800021, "mov x1, #1"),
    (0x10000122, "adr x2, . + 36"),
    (0xD4000002, "hvc #0"),
    (0x52800080, "mov w0, #4"),
    (0x72B88000, "movk w0, #0xc400, lsl #16"),
    (0xD2800021, "mov x1, #1"),
    (0xD2800002, "mov x2, #0"),
    (0xD4000002, "hvc #0"),
    (0xB4FFFF60, "cbz x0, . - 20"),
    (0xD4200020, "brk #1"),
    (0x52800040, "mov w0, #2"),
    (0x72B08000, "movk w0, #0x8400, lsl #16"),
    (0xD4000002, "hvc #0"),
    (0x14000000, "b ."),
)

#: The number of vCPUs of ``LAPS``, the lines of each one's lap, and the first lap's line.
LAP_VCPUS: Final = 4
LAP_LINES: Final = 4
LAP: Final = 16

# Each vCPU goes round in lines of its own: x5 counts laps, and x6 is where they are stored.
LAPS: Final = program(
    (0xD2800033, "mov x19, #1"),
    (0x52800060, "mov w0, #3"),
    (0x72B88000, "movk w0, #0xc400, lsl #16"),
    (0xAA1303E1, "mov x1, x19"),
    (0x100000E2, "adr x2, . + 28"),
    (0xAA1303E3, "mov x3, x19"),
    (0xD4000002, "hvc #0"),
    (0x91000673, "add x19, x19, #1"),
    (0xF100127F, "cmp x19, #4"),
    (0x54FFFF01, "b.ne . - 32"),
    (0xD2800000, "mov x0, #0"),
    (0xD2A80026, "mov x6, #0x40010000"),
    (0x8B000CC6, "add x6, x6, x0, lsl #3"),
    (0x10000061, "adr x1, . + 12"),
    (0x8B001021, "add x1, x1, x0, lsl #4"),
    (0xD61F0020, "br x1"),
    *(
        (0xB10004A5, "adds x5, x5, #1"),
        (0xF90000C5, "str x5, [x6]"),
        (0xD503201F, "nop"),
        (0x17FFFFFD, "b . - 12"),
    )
    * 4,
)

# Adds 1 to a word in RAM as guests without LSE do; a lap of it is lines 1 to 4.
ADDS: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x35FFFFA2, "cbnz w2, . - 12"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

WAITS: Final = program(
    (0xD503207F, "wfi"),
    (0xD503205F, "wfe"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

ALL: Final = {name: value for name, value in vars().items() if isinstance(value, Program)}
