"""Guest programs whose exclusive sequences are tried again, or entered, in unusual ways.

The programs are written as those of ``programs.py`` and are checked by the same test.
"""

from typing import Final

from tests.contract.programs import Program, program

# Adds 1 to a word in RAM by a weak compare-and-swap, as C++ has it: the status of its store goes
# through flags and another register.
CASES_WEAKLY: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0xB9400001, "ldr w1, [x0]"),
    (0x11000423, "add w3, w1, #1"),
    (0x885FFC04, "ldaxr w4, [x0]"),
    (0x6B01009F, "cmp w4, w1"),
    (0x54FFFF81, "b.ne . - 16"),
    (0x8802FC03, "stlxr w2, w3, [x0]"),
    (0x7100005F, "cmp w2, #0"),
    (0x1A9F17E5, "cset w5, eq"),
    (0x34FFFF05, "cbz w5, . - 32"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# Adds 1 to a word in RAM; flags say whether it tries again.
TRIES_BY_FLAGS: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x7100005F, "cmp w2, #0"),
    (0x54FFFF81, "b.ne . - 16"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# Adds 1 to a word in RAM by a function that returns whether its caller must call again.
TRIES_IN_A_FUNCTION: Final = program(
    (0xD2A80029, "mov x9, #0x40010000"),
    (0xAA0903E0, "mov x0, x9"),
    (0x94000004, "bl . + 16"),
    (0x35FFFFC0, "cbnz w0, . - 8"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x2A0203E0, "mov w0, w2"),
    (0xD65F03C0, "ret"),
)

# Adds 1 to a word in RAM, with a barrier before the test.
TRIES_BEHIND_A_BARRIER: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0xD5033BBF, "dmb ish"),
    (0x35FFFF82, "cbnz w2, . - 16"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# Adds 1 to a word in RAM, and stores the status, as unoptimised code does.
KEEPS_THE_STATUS: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0xB9004002, "str w2, [x0, #64]"),
    (0x35FFFF82, "cbnz w2, . - 16"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# Adds 1 to a word in RAM, or to the next one behind a failure.
TRIES_THE_NEXT: Final = program(
    (0xD2A80020, "mov x0, #0x40010000"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x91002000, "add x0, x0, #8"),
    (0x35FFFF82, "cbnz w2, . - 16"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# Adds 1 to a word at x0, and stores the sum at x3 between the load and the store.
STORES_BETWEEN: Final = program(
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x11000421, "add w1, w1, #1"),
    (0xB9000061, "str w1, [x3]"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x35FFFF82, "cbnz w2, . - 16"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# x0: an address in RAM. It goes through its sequence, and then again from line 3 on with x5 = 1.
JUMPS_INTO_IT: Final = program(
    (0xD2800005, "mov x5, #0"),
    (0x885F7C01, "ldxr w1, [x0]"),
    (0x110004C6, "add w6, w6, #1"),
    (0x11000421, "add w1, w1, #1"),
    (0x88027C01, "stxr w2, w1, [x0]"),
    (0x35000022, "cbnz w2, . + 4"),
    (0xB5000065, "cbnz x5, . + 12"),
    (0xD2800025, "mov x5, #1"),
    (0x17FFFFFB, "b . - 20"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

ALL: Final = {name: each for name, each in vars().items() if isinstance(each, Program)}
