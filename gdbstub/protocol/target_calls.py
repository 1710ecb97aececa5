"""Calls to a target whose failure is logged and changes nothing for the caller.

What a client has asked for is not here: its failure is a reply.
"""

import logging

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
