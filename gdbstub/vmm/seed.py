"""``--kaslr-seed``: the number by which a Linux kernel chooses where it runs.

What it makes of that is the kernel's own affair.
"""

import os
from typing import Final

from gdbstub.errors import InputError

_BITS: Final = 64
RANDOM: Final = "random"


def parse_seed(text: str) -> int:
    """The number that the argument of ``--kaslr-seed`` asks for, ``random`` or in so many words.

    Raises:
        InputError: it is neither, or no 64 bits hold it.
    """
    if text == RANDOM:
        return int.from_bytes(os.urandom(_BITS // 8), "little")
    try:
        seed = int(text, 0)
    except ValueError:
        seed = -1
    if not 0 <= seed < 1 << _BITS:
        raise InputError(
            f"--kaslr-seed {text}: expected random, or a number of 64 bits such as 0x1234"
        )
    return seed
