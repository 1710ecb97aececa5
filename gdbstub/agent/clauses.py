"""Clauses: the conditions and commands that a client attached to a breakpoint.

It stops nothing: ``conditions`` calls ``hold`` and ``output`` and decides. Neither raises. A
condition that fails counts as true, and the client evaluates it again. A command that fails puts
the error into its output, since GDB resumes from a stop at such a breakpoint without stepping
off it.
"""

import logging
from collections.abc import Iterable, MutableMapping
from typing import NamedTuple

from gdbstub.agent.operations import Evaluation, EvaluationContext
from gdbstub.agent.program import AgentProgram
from gdbstub.errors import AgentError

_log = logging.getLogger(__name__)

#: Size of a program without code, as bytes of code are counted.
_EACH = 64

_TRUE = AgentProgram.compile(b"\x22\x01\x27")  # const8 1, end


class Clauses(NamedTuple):
    """Conditions and commands of one breakpoint; the default is none of either.

    A breakpoint with commands never stops its thread: they run, and the guest goes on.
    """

    conditions: tuple[AgentProgram, ...] = ()
    commands: tuple[AgentProgram, ...] = ()
    #: True if the commands are to run even while no client is connected.
    persist: bool = False

    @classmethod
    def compile(
        cls, conditions: Iterable[bytes], commands: Iterable[bytes] = (), *, persist: bool = False
    ) -> "Clauses":
        """Make programs of bytecode.

        Bytecode that cannot be evaluated is no error here, for a client could not show it: such a
        condition is always true, and such a command prints what is wrong with it.
        """
        return cls(tuple(map(_condition, conditions)), tuple(map(_command, commands)), persist)

    @property
    def size(self) -> int:
        """Number of bytes of their code, and ``_EACH`` for each program."""
        return sum(len(program.code) + _EACH for program in (*self.conditions, *self.commands))

    def refused(self, why: str) -> "Clauses":
        """Return clauses in place of these: conditions that are true, commands that print *why*."""
        _log.info("a breakpoint's conditions are left to the client: %s", why)
        printing = AgentProgram.printing(_complaint(AgentError(why)))
        return Clauses((_TRUE,) if self.conditions else (), (printing,) if self.commands else ())

    def hold(
        self, context: EvaluationContext, variables: MutableMapping[int, int] | None = None
    ) -> bool:
        """Return True if any condition is true, or if there is none."""
        if not self.conditions:
            return True
        evaluation = Evaluation(context, variables)
        return any(_holds(program, evaluation) for program in self.conditions)

    def output(
        self, context: EvaluationContext, variables: MutableMapping[int, int] | None = None
    ) -> bytes:
        """Run the commands; return what they print."""
        evaluation = Evaluation(context, variables)
        for program in self.commands:
            try:
                program.execute(evaluation)
            except AgentError as error:
                evaluation.output += _complaint(error)
        return evaluation.output


def _condition(code: bytes) -> AgentProgram:
    try:
        return AgentProgram.compile(code)
    except AgentError as error:
        _log.info("a breakpoint's condition is left to the client: %s", error)
        return _TRUE


def _command(code: bytes) -> AgentProgram:
    try:
        return AgentProgram.compile(code)
    except AgentError as error:
        return AgentProgram.printing(_complaint(error))


def _holds(program: AgentProgram, evaluation: Evaluation) -> bool:
    try:
        return program.value(evaluation) != 0
    except AgentError as error:
        _log.debug("a breakpoint's condition is left to the client: %s", error)
        return True


def _complaint(error: AgentError) -> bytes:
    return b"<dprintf: %b>\n" % str(error).encode("ascii", "backslashreplace")
