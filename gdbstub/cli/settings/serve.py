"""The settings of a session, whatever the machine; ``serving.serve`` uses them."""

from typing import NamedTuple

from gdbstub.linux.reasons import FUNCTIONS
from gdbstub.protocol.endpoint import Endpoint, Stdio, Tcp, Unix


class ServeSettings(NamedTuple):
    """Options of a session that do not depend on the machine."""

    endpoint: Endpoint
    symbols: str = ""
    free_run: bool = False
    kill_on_disconnect: bool = False
    script: str | None = None
    timeout: float | None = None
    #: True in a lab, for a client outside.
    inner: bool = False
    #: Reasons to stop the guest for, of ``--stop-on``.
    stop_on: tuple[str, ...] = ()
    #: Reasons of ``--vmcore-on``, and its file.
    vmcore_on: tuple[str, ...] = ()
    vmcore: str = ""
    no_reboot: bool = False
    #: Endpoint of ``--qmp``.
    qmp: Unix | Tcp | None = None

    @property
    def hint(self) -> bool:
        """True if the command that attaches a client is printed: a person attaches it."""
        return not (self.inner or self.script or isinstance(self.endpoint, Stdio))

    @property
    def qmp_path(self) -> str:
        """Path of the socket of ``--qmp``; empty if there is none."""
        return self.qmp.path if isinstance(self.qmp, Unix) else ""

    @property
    def stops(self) -> tuple[str, ...]:
        """All reasons for which the stub stops the guest."""
        return tuple(each for each in FUNCTIONS if each in (*self.stop_on, *self.vmcore_on))
