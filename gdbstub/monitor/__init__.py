"""Commands for a person at a client: what ``monitor`` in GDB reaches.

No packet is known here; ``packets/monitor.py`` brings the line and takes the text.
"""

from gdbstub.monitor import breakpoints, control, info, kernel, memory, registers, stats
from gdbstub.monitor.debugger import MonitoredDebugger

# Importing a subject registers its commands.
SUBJECTS = (info, registers, memory, kernel, breakpoints, control, stats)

__all__ = ["SUBJECTS", "MonitoredDebugger"]
