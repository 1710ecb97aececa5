"""Server: bytes and stops to a session, for one client at a time.

It knows no packet: ``session.py`` does.
"""

from gdbstub.protocol.server.listener import Server

__all__ = ["Server"]
