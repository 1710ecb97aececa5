"""The argument of ``--kaslr-seed``: the number by which a Linux kernel chooses its address.

The kernel's choice itself is not known here.
"""

import os
from typing import Final

from gdbstub.errors import InputError
from gdbstub.numbers import parse_number

_BITS: Final = 64
RANDOM: Final = "random"


def parse_seed(text: str) -> int:
    """Parse the argument of ``--kaslr-seed``: ``random``, or a number.

    Raises:
        InputError: *text* is neither, or the number has more than 64 bits.
    """
    if text == RANDOM:
        return int.from_bytes(os.urandom(_BITS // 8), "little")
    if (seed := parse_number(text)) is None:
        raise InputError(
            f"--kaslr-seed {text!r}: expected random, or a number of 64 bits such as 0x1234"
        )
    return seed
