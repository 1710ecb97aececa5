"""Calls to a target whose failure is logged and changes nothing for the caller.

What a client has asked for is not called here: its failure is a reply, which ``failure`` makes.
"""

import logging
from collections.abc import Callable

from gdbstub.errors import MachineError, StubError
from gdbstub.target import Target

_log = logging.getLogger(__name__)


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
    if not isinstance(error, StubError):
        _log.error("a packet's handler failed", exc_info=error)
        error = MachineError("internal error in the stub; its log says more")
    return encode(error)
