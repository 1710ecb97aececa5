"""Run by gdb itself: 20 steps, each landing where the instruction before it says."""

import sys
from pathlib import Path

import gdb  # there only inside gdb

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.kvm import a64


def value(expression: str) -> int:
    return int(gdb.parse_and_eval(expression)) & a64.MASK


def main() -> None:
    for _ in range(20):
        pc = value("$pc")
        word = value(f"*(unsigned int *){pc:#x}") & 0xFFFFFFFF
        expected = a64.following(pc, word, value("$cpsr"), lambda n: value(f"$x{n}"))
        gdb.execute("stepi", to_string=True)
        if value("$pc") != expected:
            raise gdb.GdbError(f"{pc:#x} was followed by {value('$pc'):#x}, not {expected:#x}")
    print("20 steps were right")


main()
