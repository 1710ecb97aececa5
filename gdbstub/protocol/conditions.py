"""Conditions and commands of breakpoints, for a target of one's own that is to evaluate them.

It inserts nothing and stops nothing: whoever executes asks ``stops`` at a breakpoint.
"""

from collections.abc import MutableMapping

from gdbstub.agent import Clauses
from gdbstub.errors import NoSuchRegister
from gdbstub.target import BreakpointKind, Target


class Conditions:
    """Conditions and commands of a target's breakpoints, to make ``BreakpointConditions`` of.

    The target's ``attach`` and ``take_output`` are the ones here, its ``remove`` ends with
    ``remove``, its ``release`` and ``detach`` keep no breakpoint but those of ``release``.
    """

    def __init__(self, target: Target) -> None:
        """Begin with none."""
        self._target = target
        self._clauses: dict[tuple[BreakpointKind, int], Clauses] = {}
        self._variables: dict[int, int] = {}
        self._printed = b""

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """As ``BreakpointConditions.attach``."""
        self._clauses[kind, gva] = clauses

    def remove(self, kind: BreakpointKind, gva: int) -> None:
        """Forget what was attached there."""
        self._clauses.pop((kind, gva), None)

    def release(self) -> set[tuple[BreakpointKind, int]]:
        """Forget all but what is to print while no client is there; where that is."""
        self._clauses = {place: each for place, each in self._clauses.items() if each.persist}
        return set(self._clauses)

    def stops(self, thread: int, kind: BreakpointKind, gva: int) -> bool:
        """Whether *thread*, at rest at this breakpoint, is to stop there.

        Its commands are run here, and what they print is announced by ``notify``.
        """
        clauses = self._clauses.get((kind, gva), _NONE)
        if not (clauses.conditions or clauses.commands):
            return True
        context = _Context(self._target, thread, self._variables)
        if not clauses.hold(context):
            return False
        if clauses.commands and (printed := clauses.output(context)):
            self._printed += printed
            self._target.notify()
        return not clauses.commands

    def take_output(self) -> bytes:
        """As ``BreakpointConditions.take_output``."""
        printed, self._printed = self._printed, b""
        return printed


_NONE = Clauses()


class _Context:
    """Where agent expressions are evaluated: one thread of any target."""

    def __init__(self, target: Target, thread: int, variables: MutableMapping[int, int]) -> None:
        self.variables = variables
        self._target = target
        self._thread = thread

    def register(self, number: int) -> int:
        for row in self._target.registers:
            if row.number == number and row.bits <= 64:
                return int.from_bytes(self._target.read_registers(self._thread, (row,)), "little")
        raise NoSuchRegister(f"no expression can use register {number}")

    def memory(self, gva: int, length: int) -> bytes:
        return self._target.read_memory(self._thread, gva, length)
