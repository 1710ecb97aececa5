"""Guest programs and breakpoint clauses of the run control tests (``test_run_control_*.py``).

The programs are written as those of ``programs.py`` and are checked by the same test.
"""

from typing import Final

from gdbstub.agent import Clauses
from gdbstub.target import BreakpointKind, StopReason
from tests.contract.client import Client
from tests.contract.programs import SECONDARY_LEAVES, Program, program

# x0: an address in RAM. What a step over line 0 caches, line 1 must not be judged by.
STORES_AND_WAITS: Final = program(
    (0xF9000001, "str x1, [x0]"),
    (0xD503207F, "wfi"),
    (0xD503205F, "wfe"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# vCPU 1 starts at line 12 and switches itself off at line 14; vCPU 0 sees that, turns it on
# again from line 16 on, and waits at line 22. vCPU 1 comes back to line 24.
LEAVES_AND_COMES_BACK: Final = program(
    *SECONDARY_LEAVES.lines[:11],
    (0x14000005, "b . + 20"),
    *SECONDARY_LEAVES.lines[12:],
    (0x52800060, "mov w0, #3"),
    (0x72B88000, "movk w0, #0xc400, lsl #16"),
    (0xD2800021, "mov x1, #1"),
    (0x100000A2, "adr x2, . + 20"),
    (0xD2A80023, "mov x3, #0x40010000"),
    (0xD4000002, "hvc #0"),
    (0xF9400064, "ldr x4, [x3]"),
    (0x17FFFFFF, "b . - 4"),
    (0x91000405, "add x5, x0, #1"),
    (0xF9000005, "str x5, [x0]"),
    (0x14000000, "b ."),
)

# Adds 1 to a word in RAM five times; a lap is lines 2 to 5.
ADDS_FIVE_TIMES: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0xD28000A5, "mov x5, #5"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x35FFFFA2, "cbnz w2, . - 12"),
    (0xF10004A5, "subs x5, x5, #1"),
    (0x54FFFF61, "b.ne . - 20"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# Tries once, whatever comes of it; x4 counts what is executed behind it.
ADDS_ONCE: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x91000484, "add x4, x4, #1"),
    (0x91000484, "add x4, x4, #1"),
    (0x91000484, "add x4, x4, #1"),
    (0x14000000, "b ."),
)

# A lock, taken if it is free: a sequence that may be left before its store.
TAKES_ONCE: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0x52800023, "mov w3, #1"),
    (0x885FFC01, "ldaxr w1, [x0]"),
    (0x35000061, "cbnz w1, . + 12"),
    (0x8802FC03, "stlxr w2, w3, [x0]"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# Adds 1 to a word in RAM; x5 counts tries, and a line of ``MEANWHILE`` may be in place of line 4.
ADDS_AND_COUNTS: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0xD2A80044, "mov x4, #0x40020000"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x910004A5, "add x5, x5, #1"),
    (0xD503201F, "nop"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x35FFFF62, "cbnz w2, . - 20"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# What compilers and people put between a load-exclusive and its store.
MEANWHILE: Final = program(
    (0xB9400083, "ldr w3, [x4]"),
    (0xB8004485, "str w5, [x4], #4"),
    (0xA9BF0FE5, "stp x5, x3, [sp, #-16]!"),
    (0x88DFFC83, "ldar w3, [x4]"),
    (0xF9800080, "prfm pldl1keep, [x4]"),
    (0x9E670021, "fmov d1, x1"),
    (0x1E612821, "fadd d1, d1, d1"),
    (0xD53BD043, "mrs x3, tpidr_el0"),
    (0x14000001, "b . + 4"),
    (0x14000005, "b . + 20"),
    (0x35000041, "cbnz w1, . + 8"),
    (0xD10043FF, "sub sp, sp, #16"),
    (0xD5033BBF, "dmb ish"),
    (0xD503203F, "yield"),
)

# Store-exclusives for line 6 of ``ADDS_AND_COUNTS``, after the loads that belong to them.
EXCLUSIVES: Final = program(
    (0xC85F7C01, "ldxr x1, [x0]"),
    (0xC8027C01, "stxr w2, x1, [x0]"),
    (0x885FFC01, "ldaxr w1, [x0]"),
    (0x8802FC01, "stlxr w2, w1, [x0]"),
    (0x085F7C01, "ldxrb w1, [x0]"),
    (0x08027C01, "stxrb w2, w1, [x0]"),
    (0x485FFC01, "ldaxrh w1, [x0]"),
    (0x4802FC01, "stlxrh w2, w1, [x0]"),
    (0x887F1801, "ldxp w1, w6, [x0]"),
    (0x88221801, "stxp w2, w1, w6, [x0]"),
    (0xC87F9801, "ldaxp x1, x6, [x0]"),
    (0xC8229801, "stlxp w2, x1, x6, [x0]"),
)

# Tries until it succeeds, with more in between than a debugger looks through.
TRIES_FROM_AFAR: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x340000A2, "cbz w2, . + 20"),
    (0xD2800C86, "mov x6, #100"),
    (0xF10004C6, "subs x6, x6, #1"),
    (0x54FFFFE1, "b.ne . - 4"),
    (0x17FFFFF9, "b . - 28"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# x3: the address of line 3; w4: a word to put there, for the second lap.
ADDS_AND_PATCHES_IT: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x35FFFFA2, "cbnz w2, . - 12"),
    (0x35000125, "cbnz w5, . + 36"),
    (0xB9000064, "str w4, [x3]"),
    (0xD50B7B23, "dc cvau, x3"),
    (0xD5033B9F, "dsb ish"),
    (0xD50B7523, "ic ivau, x3"),
    (0xD5033B9F, "dsb ish"),
    (0xD5033FDF, "isb"),
    (0x52800025, "mov w5, #1"),
    (0x17FFFFF4, "b . - 48"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# What falls through to a vector and has written what an exception saves.
WRITES_SPSR: Final = program(
    (0xD5184002, "msr spsr_el1, x2"),
    (0x14000000, "b ."),
)

# The same with the other one.
WRITES_ELR: Final = program(
    (0xD5184022, "msr elr_el1, x2"),
    (0x14000000, "b ."),
)

# One exception of each kind that an unprepared program takes; x1: an address without RAM.
FAULTS: Final = program(
    (0xD61F0020, "br x1"),
    (0x00000000, "udf #0"),
    (0xD4000001, "svc #0"),
    (0xD4202460, "brk #0x123"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# An IRQ handler: says that it was there, and goes back with IRQs masked. x10: DATA.
NOTES_FLAG: Final = program(
    (0xD280002B, "mov x11, #1"),
    (0xF900054B, "str x11, [x10, #8]"),
    (0xD538400B, "mrs x11, spsr_el1"),
    (0xB279016B, "orr x11, x11, #0x80"),
    (0xD518400B, "msr spsr_el1, x11"),
    (0xD69F03E0, "eret"),
)

# vCPU 1 starts at line 12 and waits for vCPU 0's IRQ handler; line 7 waits for vCPU 1.
WAITS_FOR_SIBLING: Final = program(
    (0x52800060, "mov w0, #3"),
    (0x72B88000, "movk w0, #0xc400, lsl #16"),
    (0xD2800021, "mov x1, #1"),
    (0x10000122, "adr x2, . + 36"),
    (0xD2A80023, "mov x3, #0x40010000"),
    (0xD4000002, "hvc #0"),
    (0xD2A8002A, "mov x10, #0x40010000"),
    (0xF9400141, "ldr x1, [x10]"),
    (0xB4FFFFE1, "cbz x1, . - 4"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
    (0x14000000, "b ."),
    (0xF9400404, "ldr x4, [x0, #8]"),
    (0xB4FFFFE4, "cbz x4, . - 4"),
    (0xF9000004, "str x4, [x0]"),
    (0x14000000, "b ."),
)

# As WAITS_FOR_SIBLING, but vCPU 1 sends the interrupt, an SGI, when DATA + 16 says so. Lines 24
# and 25 wait.
RINGS_BY_GICV3: Final = program(
    (0x52800060, "mov w0, #3"),
    (0x72B88000, "movk w0, #0xc400, lsl #16"),
    (0xD2800021, "mov x1, #1"),
    (0x10000322, "adr x2, . + 100"),
    (0xD2A80023, "mov x3, #0x40010000"),
    (0xD4000002, "hvc #0"),
    (0xD2A8002A, "mov x10, #0x40010000"),
    (0xD2A1000C, "mov x12, #0x08000000"),
    (0x5280024D, "mov w13, #0x12"),
    (0xB900018D, "str w13, [x12]"),
    (0xF2A1016C, "movk x12, #0x080b, lsl #16"),
    (0x5280004D, "mov w13, #2"),
    (0x1280000E, "mov w14, #-1"),
    (0xB900818E, "str w14, [x12, #0x80]"),
    (0xB901018D, "str w13, [x12, #0x100]"),
    (0xD280002D, "mov x13, #1"),
    (0xD518CCAD, "msr s3_0_c12_c12_5, x13"),
    (0xD5033FDF, "isb"),
    (0xD2801FED, "mov x13, #0xff"),
    (0xD518460D, "msr s3_0_c4_c6_0, x13"),
    (0xD280002D, "mov x13, #1"),
    (0xD518CCED, "msr s3_0_c12_c12_7, x13"),
    (0xD5033FDF, "isb"),
    (0xD50342FF, "msr daifclr, #2"),
    (0xF9400141, "ldr x1, [x10]"),
    (0xB4FFFFE1, "cbz x1, . - 4"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
    (0xF9400804, "ldr x4, [x0, #16]"),
    (0xB4FFFFE4, "cbz x4, . - 4"),
    (0xD2800025, "mov x5, #1"),
    (0xF2A02005, "movk x5, #0x0100, lsl #16"),
    (0xD518CBA5, "msr s3_0_c12_c11_5, x5"),
    (0xD5033FDF, "isb"),
    (0xF9400404, "ldr x4, [x0, #8]"),
    (0xB4FFFFE4, "cbz x4, . - 4"),
    (0xF9000004, "str x4, [x0]"),
    (0x14000000, "b ."),
)

# The same with the older interrupt controller. Lines 16 and 17 wait.
RINGS_BY_GICV2: Final = program(
    (0x52800060, "mov w0, #3"),
    (0x72B88000, "movk w0, #0xc400, lsl #16"),
    (0xD2800021, "mov x1, #1"),
    (0x10000222, "adr x2, . + 68"),
    (0xD2A80023, "mov x3, #0x40010000"),
    (0xD4000002, "hvc #0"),
    (0xD2A8002A, "mov x10, #0x40010000"),
    (0xD2A1000C, "mov x12, #0x08000000"),
    (0x5280002D, "mov w13, #1"),
    (0xB900018D, "str w13, [x12]"),
    (0xF2A1002C, "movk x12, #0x0801, lsl #16"),
    (0x52801FED, "mov w13, #0xff"),
    (0xB900058D, "str w13, [x12, #4]"),
    (0x5280002D, "mov w13, #1"),
    (0xB900018D, "str w13, [x12]"),
    (0xD50342FF, "msr daifclr, #2"),
    (0xF9400141, "ldr x1, [x10]"),
    (0xB4FFFFE1, "cbz x1, . - 4"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
    (0xF9400804, "ldr x4, [x0, #16]"),
    (0xB4FFFFE4, "cbz x4, . - 4"),
    (0xD2A10006, "mov x6, #0x08000000"),
    (0x52800025, "mov w5, #1"),
    (0x72A00025, "movk w5, #1, lsl #16"),
    (0xB90F00C5, "str w5, [x6, #0xf00]"),
    (0xF9400404, "ldr x4, [x0, #8]"),
    (0xB4FFFFE4, "cbz x4, . - 4"),
    (0xF9000004, "str x4, [x0]"),
    (0x14000000, "b ."),
)

# Their handlers: say that they were there, and end the interrupt.
ACKNOWLEDGES_GICV3: Final = program(
    (0xD538CC0B, "mrs x11, s3_0_c12_c12_0"),
    (0xD280002C, "mov x12, #1"),
    (0xF900054C, "str x12, [x10, #8]"),
    (0xD518CC2B, "msr s3_0_c12_c12_1, x11"),
    (0xD69F03E0, "eret"),
)

ACKNOWLEDGES_GICV2: Final = program(
    (0xD2A1002C, "mov x12, #0x08010000"),
    (0xB9400D8B, "ldr w11, [x12, #0xc]"),
    (0xD280002D, "mov x13, #1"),
    (0xF900054D, "str x13, [x10, #8]"),
    (0xB900118B, "str w11, [x12, #0x10]"),
    (0xD69F03E0, "eret"),
)

# A guest with a breakpoint of its own at line 10, whose handler comes back with it masked.
OWN_BREAKPOINT: Final = program(
    (0xD510109F, "msr oslar_el1, xzr"),
    (0x10000120, "adr x0, . + 36"),
    (0xD5100080, "msr dbgbvr0_el1, x0"),
    (0xD2803CE0, "mov x0, #0x1e7"),
    (0xD51000A0, "msr dbgbcr0_el1, x0"),
    (0xD2940000, "mov x0, #0xa000"),
    (0xD5100240, "msr mdscr_el1, x0"),
    (0xD5033FDF, "isb"),
    (0xD50348FF, "msr daifclr, #8"),
    (0xD503201F, "nop"),
    (0xD503201F, "nop"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# The same with a watchpoint; x10: what is watched, which line 10 writes.
OWN_WATCHPOINT: Final = program(
    (0xD510109F, "msr oslar_el1, xzr"),
    (0xD51000CA, "msr dbgwvr0_el1, x10"),
    (0xD283FEE0, "mov x0, #0x1ff7"),
    (0xD51000E0, "msr dbgwcr0_el1, x0"),
    (0xD2940000, "mov x0, #0xa000"),
    (0xD5100240, "msr mdscr_el1, x0"),
    (0xD5033FDF, "isb"),
    (0xD50348FF, "msr daifclr, #8"),
    (0xD28000E1, "mov x1, #7"),
    (0xD503201F, "nop"),
    (0xF9000141, "str x1, [x10]"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# The handler of both: counts, notes what came, and masks debug exceptions where it was.
COUNTS_AND_MASKS: Final = program(
    (0x910006B5, "add x21, x21, #1"),
    (0xD5385213, "mrs x19, esr_el1"),
    (0xD5384034, "mrs x20, elr_el1"),
    (0xD5384016, "mrs x22, spsr_el1"),
    (0xB27702D6, "orr x22, x22, #0x200"),
    (0xD5184016, "msr spsr_el1, x22"),
    (0xD69F03E0, "eret"),
)

# x0: an address in RAM, in the block that is zeroed.
ZEROES: Final = program(
    (0xD53B00E3, "mrs x3, dczid_el0"),
    (0xD50B7420, "dc zva, x0"),
    (0x14000000, "b ."),
)


#: The line of ``ADDS_AND_STORES`` between its load-exclusive and store-exclusive.
BETWEEN: Final = 1

# w4 counts rounds as the word at x0 does. The sequence stores at x3 as well, so it is not repeated.
ADDS_AND_STORES: Final = program(
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0xB9000061, "str w1, [x3]"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x35FFFF82, "cbnz w2, . - 16"),
    (0x11000484, "add w4, w4, #1"),
    (0x52800022, "mov w2, #1"),
    (0x17FFFFF9, "b . - 28"),
)

#: ``const8 0; end``.
NEVER: Final = Clauses.compile([bytes.fromhex("220027")])
#: ``const8 1; end``.
ALWAYS: Final = Clauses.compile([bytes.fromhex("220127")])
#: ``printf("hi\\n")``.
SAYS_HI: Final = Clauses.compile([], [bytes.fromhex("220022003400000568695c6e0027")])
#: ``reg 1; const8 3; equal; end``.
X1_IS_3: Final = Clauses.compile([bytes.fromhex("26000122031327")])

SW: Final = BreakpointKind.SOFTWARE
HW: Final = BreakpointKind.HARDWARE
STOPS: Final = {SW: StopReason.SWBREAK, HW: StopReason.HWBREAK}


def put(client: Client, kind: BreakpointKind, gva: int, clauses: Clauses | None = None) -> None:
    """Insert a breakpoint with its conditions and commands."""
    client.target.insert(1, kind, gva, 4)
    if clauses is not None:
        client.target.attach(kind, gva, clauses)


ALL: Final = {name: value for name, value in vars().items() if isinstance(value, Program)}
