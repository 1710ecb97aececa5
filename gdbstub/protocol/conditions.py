"""Conditions and commands of breakpoints, for a library user's target that evaluates them itself.

It inserts no breakpoint and stops no thread: the target asks ``stops`` where it hits a breakpoint.
"""

from gdbstub.agent import Clauses, ConditionTable, PrintedText
from gdbstub.errors import NoSuchRegister
from gdbstub.target import BreakpointKind, Target


class Conditions:
    """Conditions and commands of one target's breakpoints, to implement ``BreakpointConditions``.

    The target's ``attach`` and ``take_output`` call those here. Its ``remove`` ends with the one
    here. Its ``release`` and ``detach`` keep only the breakpoints that the one here returns.
    """

    def __init__(self, target: Target) -> None:
        """Begin with none."""
        self._target = target
        self._table: ConditionTable[BreakpointKind] = ConditionTable()
        self._printed = PrintedText()

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Implement ``BreakpointConditions.attach``."""
        self._table.attach(kind, gva, clauses)

    def remove(self, kind: BreakpointKind, gva: int) -> None:
        """Remove the clauses of a breakpoint; it is no error if there are none."""
        self._table.remove(kind, gva)

    def release(self) -> frozenset[tuple[BreakpointKind, int]]:
        """Remove all clauses but those that persist without a client; return where those are."""
        return self._table.keep_persistent()

    def stops(self, thread: int, kind: BreakpointKind, gva: int) -> bool:
        """Return True if *thread*, at rest at this breakpoint, is to stop there.

        Commands run here; the target's ``notify`` is called if they have printed.
        """
        stops, output = self._table.evaluate(kind, gva, _ThreadContext(self._target, thread))
        if output:
            self._printed.add(output)
            self._target.notify()
        return stops

    def take_output(self) -> bytes:
        """Implement ``BreakpointConditions.take_output``."""
        return self._printed.take()


class _ThreadContext:
    """Registers and memory of one thread of any target (``EvaluationContext``)."""

    def __init__(self, target: Target, thread: int) -> None:
        self._target = target
        self._thread = thread

    def register(self, number: int) -> int:
        for row in self._target.registers:
            if row.number == number and row.bits <= 64:
                return int.from_bytes(self._target.read_registers(self._thread, (row,)), "little")
        raise NoSuchRegister(f"no expression can use register {number}")

    def memory(self, gva: int, length: int) -> bytes:
        return self._target.read_memory(self._thread, gva, length)
