"""The settings of a session, whatever the machine; ``serve``, which uses them, imports far more."""

from typing import NamedTuple

from gdbstub.protocol.endpoint import Endpoint


class ServeSettings(NamedTuple):
    """Options of a session that do not depend on the machine."""

    endpoint: Endpoint
    symbols: str = ""
    free_run: bool = False
    kill_on_disconnect: bool = False
    script: str | None = None
    timeout: float | None = None
    #: True: print the command that attaches a client.
    hint: bool = True
    #: True in a lab, for a client outside.
    inner: bool = False
    #: Reasons to stop the guest for, of ``--stop-on``.
    stop_on: tuple[str, ...] = ()
