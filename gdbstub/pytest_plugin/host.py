"""Host of a session's guests: this machine's KVM, or a lab that all guests of the session share."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Host(NamedTuple):
    """Command that runs a guest, and its environment. A test suite may have one of its own."""

    #: The command line up to and without ``run``.
    command: Sequence[str]
    environment: Mapping[str, str]
    #: Ends the host.
    close: Callable[[], None] = lambda: None


def open_host() -> Host:
    """Open the host for ``gdbstub run``; a lab is started or joined where there is no arm64 KVM.

    Raises:
        LabError: no lab can be started.
    """
    from gdbstub.cli.settings.run import choose_host

    command = (sys.executable, "-m", "gdbstub")
    if choose_host("auto") == "kvm":
        return Host(command, os.environ)
    from gdbstub.lab.host import VARIABLE
    from gdbstub.lab.opening import open_lab

    lab = open_lab()
    return Host(command, {**os.environ, VARIABLE: str(lab.directory)}, lab.close)
