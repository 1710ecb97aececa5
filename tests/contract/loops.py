"""A loop with an access that may fail and an interrupt that may come, and handlers of both."""

from typing import Final

from tests.contract.programs import Program, program

# x0: where it reads; x6: DATA. Line 2 lets interrupts in.
READS_AND_UNMASKS: Final = program(
    (0xB10004A5, "adds x5, x5, #1"),
    (0xF9400001, "ldr x1, [x0]"),
    (0xD50342FF, "msr daifclr, #2"),
    (0x17FFFFFD, "b . - 12"),
)

# Handlers that collect what they find in SPSR_EL1 in x11. One counts in x10 and at x6 + 8, and
# returns with interrupts masked; the other goes on behind the instruction that has failed.
MASKS_IRQ: Final = program(
    (0x9100054A, "add x10, x10, #1"),
    (0xD5384009, "mrs x9, spsr_el1"),
    (0xAA09016B, "orr x11, x11, x9"),
    (0xB2790129, "orr x9, x9, #0x80"),
    (0xD5184009, "msr spsr_el1, x9"),
    (0xF90004CA, "str x10, [x6, #8]"),
    (0xD69F03E0, "eret"),
)
GOES_ON: Final = program(
    (0xD5384009, "mrs x9, spsr_el1"),
    (0xAA09016B, "orr x11, x11, x9"),
    (0xD5384029, "mrs x9, elr_el1"),
    (0x91001129, "add x9, x9, #4"),
    (0xD5184029, "msr elr_el1, x9"),
    (0xD69F03E0, "eret"),
)

ALL: Final = {name: value for name, value in vars().items() if isinstance(value, Program)}
