"""GDB's agent expressions: conditions and commands of breakpoints, evaluated beside the guest.

It touches no guest: values come through ``EvaluationContext``. Bytes become an ``AgentProgram``
once, when a client sends them. Source: GDB manual, appendix F "The GDB Agent Expression Mechanism".
"""

from gdbstub.agent.clauses import Clauses
from gdbstub.agent.conditions import ConditionTable, Outcome
from gdbstub.agent.operations import Evaluation, EvaluationContext
from gdbstub.agent.printed import PrintedText
from gdbstub.agent.printf import Format
from gdbstub.agent.program import AgentProgram

__all__ = [
    "AgentProgram",
    "Clauses",
    "ConditionTable",
    "Evaluation",
    "EvaluationContext",
    "Format",
    "Outcome",
    "PrintedText",
]
