"""Clauses: what a client attached to a breakpoint, its conditions and its commands.

It stops nothing: the debug core asks ``hold`` and ``output`` and acts on the answers. Neither
raises. A condition that fails holds, and the client judges for itself; a command that fails says
so in its output, since GDB resumes from a stop at such a breakpoint without stepping off it.
"""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from gdbstub.agent.operations import EvaluationContext, Run
from gdbstub.agent.program import AgentProgram
from gdbstub.errors import AgentError

_log = logging.getLogger(__name__)

_TRUE = AgentProgram.compile(b"\x22\x01\x27")  # const8 1, end


class Clauses(NamedTuple):
    """One breakpoint's; a breakpoint that was inserted without any has the default ones.

    Where there are commands, a hit is no stop: they run, and the guest goes on.
    """

    conditions: tuple[AgentProgram, ...] = ()
    commands: tuple[AgentProgram, ...] = ()
    #: Whether the commands are obeyed while no client is there.
    persist: bool = False

    @classmethod
    def compile(
        cls, conditions: Iterable[bytes], commands: Iterable[bytes] = (), *, persist: bool = False
    ) -> "Clauses":
        """Make programs of bytecode.

        What cannot be evaluated is no error here, for a client could not show it: such a
        condition always holds, and such a command prints what is wrong with it.
        """
        return cls(tuple(map(_condition, conditions)), tuple(map(_command, commands)), persist)

    def hold(self, context: EvaluationContext) -> bool:
        """Whether a hit counts: one condition is enough, and so is none at all."""
        if not self.conditions:
            return True
        run = Run(context)
        return any(_holds(program, run) for program in self.conditions)

    def output(self, context: EvaluationContext) -> bytes:
        """Run the commands; what they print."""
        run = Run(context)
        for program in self.commands:
            try:
                program.execute(run)
            except AgentError as error:
                run.output += _complaint(error)
        return run.output


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


def _holds(program: AgentProgram, run: Run) -> bool:
    try:
        return program.value(run) != 0
    except AgentError as error:
        _log.debug("a breakpoint's condition is left to the client: %s", error)
        return True


def _complaint(error: AgentError) -> bytes:
    return b"<dprintf: %b>\n" % str(error).encode("ascii", "backslashreplace")
