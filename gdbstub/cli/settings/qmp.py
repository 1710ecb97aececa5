"""``--qmp``: its socket, checked. ``serving.qmp`` listens there."""

import os

from gdbstub.errors import InputError
from gdbstub.protocol.endpoint import Endpoint, Tcp, Unix, parse_endpoint


def check_qmp(text: str, gdb: Endpoint, *, inner: bool) -> Unix | Tcp:
    """Parse the argument of ``--qmp``; check that its socket, beside that of *gdb*, can be made.

    Raises:
        InputError: it cannot.
    """
    if inner and isinstance(endpoint := parse_endpoint(text, "--qmp"), Tcp):
        return endpoint._replace(guarded=True)  # the lab's own QEMU alone reaches it
    path = text.removeprefix("unix:")
    if path in (text, ""):
        raise InputError(
            f"--qmp {text}: expected unix:PATH, a socket that only this user reaches: whoever "
            "reaches it reads the guest's memory"
        )
    endpoint = Unix(path)
    if isinstance(gdb, Unix) and os.path.realpath(gdb.path) == os.path.realpath(path):
        raise InputError(f"--qmp {text}: is the socket of --gdb; expected another path")
    endpoint.check()
    return endpoint
