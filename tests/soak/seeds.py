"""Seeds that ``make test`` runs: fixed ones, and those that failed once, with what they found.

A seed's program changes with the generator. What a seed found is shown by a test of its own, too.
"""

from collections.abc import Mapping
from typing import Final

FIXED: Final = range(20)
#: So many of them run on each kind of KVM.
FEW: Final = 3
FOUND: Final[Mapping[int, str]] = {
    48: "two-kinds-at-one-address: the software breakpoint's hit is lost",
    53: "step-from-a-false-condition-in-a-sequence: an LDAXRB is stepped, and all behind it run",
    83: "two-breakpoints-in-one-sequence: continue never gets on",
    126: "vectors-in-text: a step to VBAR + 0x200 is taken for an exception, and hangs there",
    132: "breakpoint-on-watched-access: the watchpoint's hit is lost",
    373: "breakpoint-in-patched-sequence: IndexError on the vCPU's thread",
    435: "watch-on-store-exclusive: a step over the store loses the watchpoint's hit",
    2849: "two-kinds-at-one-address: a hit prints again as another vCPU's stop is told first",
    1247: "breakpoint-in-patched-sequence: IndexError on the vCPU's thread",
}
