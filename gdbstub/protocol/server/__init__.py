"""The server: brings bytes and stop events to a session, one client at a time.

It understands no packet; what the bytes mean is ``session.py``'s to know.
"""

from gdbstub.protocol.server.listener import Server

__all__ = ["Server"]
