"""False hits: hits of breakpoints whose conditions are all false, passed over by a machine itself.

A part of the seam ``machine.py``: what the debug core tells a machine that offers it.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class FalseHit(NamedTuple):
    """A breakpoint, and what must hold for a hit of it to be passed over.

    ``brk`` is True if a BRK of ours serves it, else a comparator does. ``ipa`` is where it must be
    physically; None: anywhere. ``word`` is the instruction there.
    ``following`` is the address at which a step of that ends; None: it is not stepped.
    ``others`` are the breakpoint comparators to step with, as in ``DebugRegisters``; there are no
    watchpoints. RAM must hold ``code`` from ``code_gva`` on. ``conditions`` are bytecode that
    ``AgentProgram`` has compiled; all must be false.
    """

    gva: int
    brk: bool
    ipa: int | None
    word: int
    following: int | None
    others: tuple[tuple[int, int], ...]
    code_gva: int
    code: bytes
    conditions: tuple[bytes, ...]


class PassesOver(Protocol):
    """A machine that evaluates conditions itself, and passes over hits without ``debug_exit``.

    It passes over what is plain, and announces every other hit.
    """

    def pass_over(self, vcpu: int, hit: FalseHit) -> None:
        """Pass over hits like *hit* until the next ``resume``; in ``debug_exit`` of *vcpu*.

        It is done while the vCPU runs by a ``RunMode`` that ``passes``.
        """
        ...

    def take_passed(self, vcpu: int) -> Sequence[tuple[FalseHit, int]]:
        """Return how many hits were passed over since the last call; all vCPUs are parked."""
        ...
