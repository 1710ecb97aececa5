"""Endpoints of ``gdbstub run``: which users reach one, and a private one where none was given.

It listens on nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gdbstub.errors import InputError, LabError
from gdbstub.protocol.endpoint import Endpoint, Tcp, parse_endpoint

#: Endpoint of a session that a person attaches to.
DEFAULT: Final = "localhost:1234"


@contextmanager
def endpoint_text(given: str | None, script: str | None) -> Iterator[str]:
    """Give the endpoint as ``--gdb`` takes it: *given*, or the default.

    The default of a *script* is a socket in a directory of this user alone, removed afterwards.

    Raises:
        InputError: no directory can be made.
    """
    if given is not None or script is None:
        yield DEFAULT if given is None else given
        return
    # A start without a script does not take the time to import these.
    import tempfile
    from shutil import rmtree

    from gdbstub.lab import private

    try:
        directory = tempfile.mkdtemp(prefix="gdbstub-", dir=private.place())
    except LabError as error:
        raise InputError(
            f"--script needs a directory for its socket: {error}, or give --gdb localhost:0"
        ) from None
    except OSError as error:
        raise InputError(
            f"--script needs a directory for its socket ({error.strerror}): set TMPDIR, or give "
            "--gdb localhost:0"
        ) from None
    try:
        yield f"unix:{directory}/gdb"
    finally:
        rmtree(directory, ignore_errors=True)


def check_endpoint(text: str, host: str, *, inner: bool) -> Endpoint:
    """Parse the argument of ``--gdb``; check that the stub can listen there.

    Raises:
        InputError: it cannot be parsed or used.
    """
    endpoint = parse_endpoint(text)
    if inner and isinstance(endpoint, Tcp):
        return endpoint._replace(guarded=True)  # reachable only through the lab's own QEMU
    endpoint.check()
    if host == "lab":
        from gdbstub.cli.settings.forwards import check_forward

        check_forward(endpoint)
    return endpoint


def who_reaches(endpoint: Endpoint) -> str:
    """Return a line on the users that reach *endpoint*; empty if only this user does."""
    if not isinstance(endpoint, Tcp) or endpoint.guarded or not endpoint.local:
        return ""  # the server warns of one that other machines reach
    directory = os.environ.get("XDG_RUNTIME_DIR") or os.path.expanduser("~")
    return (
        f"every user of this machine reaches this port; for you alone: --gdb unix:{directory}/gdb"
    )
