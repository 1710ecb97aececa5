"""Everything the stub raises on purpose, and the one place where an error becomes a reply.

It raises nothing itself and knows no packet; a handler raises, ``reply_for`` spells it.
"""

import errno


class StubError(Exception):
    """Base of every deliberate error; ``errno`` is what an ``Enn`` reply carries."""

    errno: int = errno.EIO


class PacketError(StubError):
    """A client sent a packet whose arguments do not match its form."""

    errno = errno.EINVAL


class NoSuchThread(StubError):
    """A thread id that names no vCPU."""

    errno = errno.ESRCH


class NoGuest(StubError):
    """The client has left the guest alone or seen it end, and asks something of it."""

    errno = errno.ESRCH


class NoSuchRegister(StubError):
    """A register number that no row has, or a register this machine lacks."""

    errno = errno.ENOENT


class RegisterRefused(StubError):
    """The machine has the register and will not take the value."""

    errno = errno.EPERM


class MemoryFault(StubError):
    """No translation, or no RAM, at a guest address."""

    errno = errno.EFAULT


class NotFound(StubError):
    """What was looked for in the guest is not there, or not yet."""

    errno = errno.ENOENT


class Cancelled(StubError):
    """The client would not wait for what it asked."""

    errno = errno.EINTR


class NoSlot(StubError):
    """The hardware breakpoint or watchpoint comparators do not suffice."""

    errno = errno.ENOSPC


class AgentError(StubError):
    """An agent expression is malformed, or its evaluation failed: it has no value."""

    errno = errno.EINVAL


class MachineError(StubError):
    """The machine failed underneath us; ``errno`` is the system call's, where one failed."""

    def __init__(self, text: str, code: int = errno.EIO) -> None:
        super().__init__(text)
        self.errno = code


class InputError(StubError):
    """What a person gave us cannot be used: a file, an option, an endpoint. Exit status 2."""

    errno = errno.EINVAL


def reply_for(error: StubError, *, textual: bool) -> bytes:
    """Encode *error* (GDB manual, E.2 "Standard Replies").

    *textual* is whether the client announced ``error-message+``; without it some
    packets (``m`` among them) must not be answered with ``E.text``.
    """
    if textual and str(error):
        text = str(error).encode("ascii", "replace")
        # A client does not undo escapes in a textual reply, so none may be needed.
        return b"E." + text.translate(None, b"#$}*")
    return b"E%02x" % (error.errno & 0xFF)
