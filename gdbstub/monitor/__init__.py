"""Commands for a person at a client: what ``monitor`` in GDB reaches.

No packet is known here; ``packets/monitor.py`` brings the line and takes the text. The commands
themselves are imported when the first of them is given: most sessions end without one.
"""

from gdbstub.monitor.debugger import MonitoredDebugger

__all__ = ["MonitoredDebugger"]
