"""The stub's exceptions, the words of their messages, and their encoding as error replies.

This module raises nothing and knows no packet: a handler raises, ``reply_for`` encodes.
"""

import errno
import os
from typing import Final

_APT_GET: Final = "/usr/bin/apt-get"
#: Number of characters of an error's text that a reply has: the text may have what a client sent.
_REPLY_CHARACTERS: Final = 8192


class StubError(Exception):
    """Base class of every deliberate error; ``errno`` is the number of an ``Enn`` reply."""

    errno: int = errno.EIO


class PacketError(StubError):
    """Malformed arguments of a packet."""

    errno = errno.EINVAL


class NoSuchThread(StubError):
    """Thread id without a vCPU."""

    errno = errno.ESRCH


class NoGuest(StubError):
    """Request for a guest that the client has detached from, or that has ended."""

    errno = errno.ESRCH


class NoSuchRegister(StubError):
    """Unknown register number, or a register that this machine does not have."""

    errno = errno.ENOENT


class RegisterRefused(StubError):
    """Value that the machine does not accept for an existing register."""

    errno = errno.EPERM


class MemoryFault(StubError):
    """Guest address without a translation, or without RAM behind it."""

    errno = errno.EFAULT


class NotFound(StubError):
    """Object that is absent from the guest, or not there yet: a kernel, for example."""

    errno = errno.ENOENT


class Cancelled(StubError):
    """Long operation that the client interrupted."""

    errno = errno.EINTR


class NoSlot(StubError):
    """Too few hardware breakpoint or watchpoint comparators for a request."""

    errno = errno.ENOSPC


class AgentError(StubError):
    """Agent expression that is malformed, or whose evaluation failed."""

    errno = errno.EINVAL


class MachineError(StubError):
    """Failure of the machine; ``errno`` is that of the system call, if one failed."""

    def __init__(self, text: str, code: int = errno.EIO) -> None:
        super().__init__(text)
        self.errno = code


class InputError(StubError):
    """Unusable input of a user: a file, an option, an endpoint. The exit status is 2."""

    errno = errno.EINVAL


class GdbError(StubError):
    """Error that a GDB of the pytest plugin has reported, or its end."""


class LabError(StubError):
    """Failure of the lab; ``str()`` is one line with the remedy. The exit status is 1."""


class QmpError(StubError):
    """Refused command of a QMP client; ``kind`` is QMP's class of the error."""

    def __init__(self, text: str, kind: str = "GenericError") -> None:
        super().__init__(text)
        self.kind = kind


class SweepError(StubError):
    """Sweep that was cut short; ``gdbstub sweep resume`` goes on with it. The exit status is 2."""


def installation(packages: str) -> str:
    """Return what installs Debian *packages*: a command, or words for a system without apt-get."""
    if os.path.exists(_APT_GET):
        return f"apt-get install {packages}"
    return f"install what Debian calls {packages}"


def printable(text: str, keep: str = "") -> str:
    """Escape what controls a terminal in *text*, which others may have made, but for *keep*.

    A line feed becomes a backslash and an n: the text is one line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def one_line(error: Exception) -> str:
    """Return what *error* says as one line; that of a failed system call names its file, too."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return printable(f"{where}{error.strerror or error}")
    return printable(str(error))


def excerpt(text: str) -> str:
    """Return the beginning of *text*, which a hostile file may have made, as part of one line."""
    return printable(" ".join(text.split())[:80])


def reply_for(error: StubError, *, textual: bool, strings: bool = False) -> bytes:
    """Encode *error* as an error reply (GDB manual, E.2 "Standard Replies").

    Pass *textual* if the client announced ``error-message+``. Otherwise some packets,
    ``m`` among them, must not be answered with ``E.text``. Pass *strings* if the client has asked
    for ``Exx;text`` by ``QEnableErrorStrings`` (LLDB extension); the text is in hex. The end of a
    text of more than 8192 characters is left out.
    """
    code = b"E%02x" % (error.errno & 0xFF)
    text = str(error)[:_REPLY_CHARACTERS]
    if strings and text:
        # A name of a file may be no text: its bytes stay as escapes.
        return code + b";" + text.encode("utf-8", "backslashreplace").hex().encode()
    if textual and text:
        # Clients do not unescape a textual reply: drop the characters that need escapes.
        return b"E." + text.encode("ascii", "replace").translate(None, b"#$}*")
    return code
