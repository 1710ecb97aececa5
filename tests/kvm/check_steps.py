"""Run by gdb itself: 20 steps, each landing where the instruction before it says.

An oracle of its own: what follows an A64 instruction, from its encoding (Arm ARM C4.1).
"""

import gdb  # there only inside gdb

MASK = (1 << 64) - 1


def value(expression: str) -> int:
    return int(gdb.parse_and_eval(expression)) & MASK


def signed(word: int, low: int, bits: int) -> int:
    field = word >> low & (1 << bits) - 1
    return (field - (1 << bits) if field >> bits - 1 else field) * 4


def followers(pc: int, word: int) -> set[int]:
    """Where execution may go after *word* at *pc*."""
    if word >> 26 & 0x1F == 0b00101:  # B, BL
        return {pc + signed(word, 0, 26) & MASK}
    if word >> 24 in (0x54, 0x34, 0x35, 0xB4, 0xB5):  # B.cond, CBZ, CBNZ
        return {pc + 4, pc + signed(word, 5, 19) & MASK}
    if word >> 24 & 0x7E == 0x36:  # TBZ, TBNZ
        return {pc + 4, pc + signed(word, 5, 14) & MASK}
    if word & 0xFE000000 == 0xD6000000:  # BR, BLR, RET; with pointer authentication too
        register = word >> 5 & 0x1F
        if word >> 11 & 1 and word >> 21 & 0xF == 0b0010:  # RETAA, RETAB
            register = 30
        # The authentication code's bits are all ones in a kernel address.
        return {value(f"$x{register}") | 0xFFFF << 48} | {value(f"$x{register}")}
    return {pc + 4}


def main() -> None:
    for _ in range(20):
        pc = value("$pc")
        allowed = followers(pc, value(f"*(unsigned int *){pc:#x}") & 0xFFFFFFFF)
        gdb.execute("stepi", to_string=True)
        if value("$pc") not in allowed:
            raise gdb.GdbError(f"{pc:#x} was followed by {value('$pc'):#x}, not {allowed}")
    print("20 steps were right")


main()
