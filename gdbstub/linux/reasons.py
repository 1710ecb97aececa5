"""Reasons to stop a Linux guest for: their names, functions and exit statuses.

Source: linux/kernel/panic.c (panic, vpanic, __warn), arch/arm64/kernel/traps.c (die),
arch/arm64/kernel/process.c (machine_restart).
"""

from collections.abc import Mapping
from typing import Final

from gdbstub.errors import InputError

#: By reason: the functions that do it, of which the first that a kernel has counts.
FUNCTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "panic": ("vpanic", "panic"),
    "oops": ("die",),
    "warn": ("__warn",),
    "reset": ("machine_restart",),
}
#: By reason: the exit status of a session in which it came, the worst first.
STATUSES: Final = {reason: 100 + index for index, reason in enumerate(FUNCTIONS)}


def parse_reasons(text: str, option: str = "--stop-on", *more: str) -> tuple[str, ...]:
    """Parse the argument of *option*: reasons, of which it has *more*, separated by commas.

    Raises:
        InputError: one of them is unknown.
    """
    reasons, known = tuple(dict.fromkeys(text.split(","))), (*FUNCTIONS, *more)
    for each in reasons:
        if each not in known:
            raise InputError(f"{option} {text}: {each!r} is not one of {', '.join(known)}")
    return reasons
