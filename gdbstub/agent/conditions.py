"""Table of the conditions and commands of one target's breakpoints, and their evaluation at a hit.

It inserts no breakpoint and reads no guest: the target asks ``evaluate`` at a breakpoint, with a
context for the thread that hit it.
"""

from collections import Counter
from typing import Final, Generic, NamedTuple, TypeVar

from gdbstub.agent.clauses import Clauses
from gdbstub.agent.operations import EvaluationContext

#: The type by which a target tells a software breakpoint from a hardware breakpoint.
Kind = TypeVar("Kind")


class Outcome(NamedTuple):
    """Result of one hit: True in ``stops`` where the thread stops, and what commands printed."""

    stops: bool
    output: bytes = b""


#: Bytes of code of all breakpoints together. A byte takes up to 160 when it is compiled.
MOST_CODE: Final = 1 << 18

STOP: Final = Outcome(True)
GO_ON: Final = Outcome(False)


class ConditionTable(Generic[Kind]):
    """Clauses of breakpoints by kind and address, with the variables that their programs share."""

    def __init__(self) -> None:
        """Make a table without clauses."""
        #: Hits whose conditions were all false, by kind and address; kept when a client leaves.
        self.false_hits: Counter[tuple[Kind, int]] = Counter()
        self._clauses: dict[tuple[Kind, int], Clauses] = {}
        self._size = 0  # of all their code
        self._variables: dict[int, int] = {}

    def attach(self, kind: Kind, gva: int, clauses: Clauses) -> None:
        """Replace the clauses of a breakpoint; empty ones leave it unconditional.

        Where there is no room for them, the client has to evaluate its conditions itself.
        """
        self.remove(kind, gva)
        if not clauses.conditions and not clauses.commands:
            return
        if clauses.size > MOST_CODE - self._size:
            clauses = clauses.refused(
                f"conditions and commands of all breakpoints have at most {MOST_CODE} bytes"
            )
        self._clauses[kind, gva] = clauses
        self._size += clauses.size

    def remove(self, kind: Kind, gva: int) -> None:
        """Remove the clauses of a breakpoint; it is no error if there are none."""
        if clauses := self._clauses.pop((kind, gva), None):
            self._size -= clauses.size

    def keep_persistent(self) -> frozenset[tuple[Kind, int]]:
        """Remove all clauses but those that persist without a client; return where those are."""
        self._clauses = {place: each for place, each in self._clauses.items() if each.persist}
        self._size = sum(each.size for each in self._clauses.values())
        return frozenset(self._clauses)

    def persists(self, kind: Kind, gva: int) -> bool:
        """Return True if a breakpoint has clauses that persist without a client."""
        clauses = self._clauses.get((kind, gva))
        return clauses is not None and clauses.persist

    def reset_variables(self) -> None:
        """Unset every trace state variable: the guest has started anew."""
        self._variables.clear()

    def conditions(self, kind: Kind, gva: int) -> tuple[bytes, ...]:
        """Return the bytecode of a breakpoint's conditions."""
        clauses = self._clauses.get((kind, gva))
        return tuple(program.code for program in clauses.conditions) if clauses else ()

    def evaluate(self, kind: Kind, gva: int, context: EvaluationContext) -> Outcome:
        """Evaluate the conditions of one hit, and run the commands if one of them holds.

        It never raises: a condition that cannot be evaluated counts as true.
        """
        clauses = self._clauses.get((kind, gva))
        if clauses is None:
            return STOP
        if not clauses.hold(context, self._variables):
            self.false_hits[kind, gva] += 1
            return GO_ON
        if clauses.commands:
            return Outcome(False, clauses.output(context, self._variables))
        return STOP
