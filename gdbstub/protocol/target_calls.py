"""Calls to a target whose failure is logged and changes nothing for the caller.

What a client has asked for is not called here: its failure is a reply, which ``failure`` makes.
"""

import errno
import logging
from collections.abc import Callable
from typing import Final

from gdbstub.errors import MachineError, StubError
from gdbstub.states import IllegalTransition
from gdbstub.target import Target

_log = logging.getLogger(__name__)

#: Exceptions after which a session cannot go on: a bug, and no memory for what has arrived.
ENDING: Final = (IllegalTransition, MemoryError)


def interrupt(target: Target) -> None:
    """Interrupt *target*. Never raises."""
    try:
        target.interrupt()
    except Exception:
        _log.exception("the target cannot be interrupted")


def release(target: Target, *, kill: bool) -> None:
    """Release *target* from a client that is gone, or kill its guest. Never raises."""
    try:
        if kill:
            target.kill()
        else:
            target.release()
    except Exception:
        _log.exception("the target cannot be %s", "killed" if kill else "released")


def failure(error: Exception, encode: Callable[[StubError], bytes]) -> bytes:
    """Encode *error* by *encode*; one that nobody raised on purpose is logged."""
    if _is_memory(error):
        _log.error("out of memory: a packet is answered by an error")
        error = MachineError("the stub is out of memory")
    elif not isinstance(error, StubError):
        _log.error("a packet's handler failed", exc_info=error)
        error = MachineError("internal error in the stub; its log says more")
    return encode(error)


def log_failure(what: str, error: Exception) -> None:
    """Log *error* behind *what*; where memory is short, there is no more to say of it."""
    if _is_memory(error):
        _log.error("%s: out of memory", what)
    else:
        _log.error("%s", what, exc_info=error)


def _is_memory(error: Exception) -> bool:
    """Return True if *error* is for want of memory, as an import's may be, too."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno == errno.ENOMEM
    )
