"""The debug core with commands of its own: what a session of ``gdbstub run`` serves.

It parses nothing: ``table.py`` does.
"""

from gdbstub.debugger import Debugger
from gdbstub.monitor.context import COMMANDS, Context
from gdbstub.target import Command


class MonitoredDebugger(Debugger):
    """A ``Debugger`` that also implements ``target.Monitor``."""

    def monitor(self, command: Command) -> str:
        """Do what was typed; what is to be shown."""
        self._index(command.thread)
        context = Context(command, self, self._machine, self._breakpoints)
        return COMMANDS.execute(context, command.line)
