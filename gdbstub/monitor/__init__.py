"""Commands for a person at a client, which GDB's ``monitor`` reaches.

No packet is known here; ``packets/monitor.py`` brings the line and takes the text. The commands
are imported when the first of them is given: most sessions end without one.
"""

from gdbstub.monitor.monitor import monitored_debugger

__all__ = ["monitored_debugger"]
