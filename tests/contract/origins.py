"""Guest programs that change what an exception of theirs comes from, or where its vectors are.

The programs are written as those of ``programs.py`` and are checked by the same test.
"""

from typing import Final

from tests.contract.programs import Program, program

# x0: SCTLR_EL1 with the MMU on. An SVC of line 3 comes back to line 4.
TURNS_ON_THE_MMU: Final = program(
    (0xD5181000, "msr sctlr_el1, x0"),
    (0xD5033FDF, "isb"),
    (0xD503201F, "nop"),
    (0xD4000001, "svc #0"),
    (0x910004A5, "add x5, x5, #1"),
    (0x14000000, "b ."),
)

# It selects SP_EL0, and is not allocated at line 3.
FAULTS_AT_EL1T: Final = program(
    (0xD503201F, "nop"),
    (0xD50040BF, "msr spsel, #0"),
    (0xD503201F, "nop"),
    (0x00000000, "udf #0"),
    (0x14000000, "b ."),
)

# It goes to line 5 at EL0, with nothing masked.
GOES_TO_EL0: Final = program(
    (0x100000A0, "adr x0, . + 20"),
    (0xD5184020, "msr elr_el1, x0"),
    (0xD2800000, "mov x0, #0"),
    (0xD5184000, "msr spsr_el1, x0"),
    (0xD69F03E0, "eret"),
    (0xD503201F, "nop"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# x0: where. Line 1 may be an exception.
LOADS_AFTER: Final = program(
    (0x910004A5, "add x5, x5, #1"),
    (0xF9400001, "ldr x1, [x0]"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

# x1: laps of lines 0 to 3. What is behind is code, too.
LOOPS_UP_TO: Final = program(
    (0xD1000421, "sub x1, x1, #1"),
    (0x91000442, "add x2, x2, #1"),
    (0x91000463, "add x3, x3, #1"),
    (0xB5FFFFA1, "cbnz x1, . - 12"),
    (0xD503201F, "nop"),
    (0xD503201F, "nop"),
    (0x14000000, "b ."),
)

ALL: Final = {name: each for name, each in vars().items() if isinstance(each, Program)}
