"""End of a session by what a Linux guest does, or by its time: exit status and core file."""

import asyncio
import logging
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from gdbstub.debug.debugger import Debugger
from gdbstub.debug.extensions import Observer
from gdbstub.debug.run_state import RunState
from gdbstub.errors import StubError
from gdbstub.linux.reasons import STATUSES
from gdbstub.linux.stop_on import StopOn
from gdbstub.target import Stopped

if TYPE_CHECKING:
    from gdbstub.cli.serve_settings import ServeSettings
    from gdbstub.linux.core_file import Write

_log = logging.getLogger("gdbstub.run")

#: The longest wait for a guest that was told to stop, in seconds.
_STOP_SECONDS: Final = 10.0


class Clients(Protocol):
    """Part of the server that ``Ending`` uses."""

    @property
    def client(self) -> str:
        """Address of the client that is served; empty if there is none."""
        ...

    def end(self) -> None:
        """End serving."""
        ...


class Ending(Observer):
    """Writes the core file of ``--vmcore-on``, once, and knows the exit status of ``--stop-on``."""

    def __init__(self, debugger: Debugger, settings: "ServeSettings", server: Clients) -> None:
        """Follow *debugger*, if a stop may be a reason for a core file."""
        self._debugger = debugger
        self._settings = settings
        self._server = server
        self._halted = asyncio.Event()
        self._noticed = 0
        self._written = False
        if settings.vmcore_on:  # else a stop costs nothing more
            debugger.observers.append(self)

    @property
    def _met(self) -> list[str]:
        """Reasons that came."""
        points = (each for each in self._debugger.stop_points if isinstance(each, StopOn))
        return next((each.met for each in points), [])

    def stopped(self, stop: Stopped) -> None:
        """Write the core file at a stop for one of its reasons."""
        self._halted.set()
        reasons, self._noticed = self._met[self._noticed :], len(self._met)
        if not any(each in self._settings.vmcore_on for each in reasons):
            return
        self._write()
        awaited = any(each in self._settings.stop_on for each in reasons)
        if not (awaited or self._settings.script or self._server.client):
            self._server.end()

    async def late(self) -> None:
        """Halt the guest and write the core file, if the end of the time is a reason for it."""
        if "timeout" not in self._settings.vmcore_on:
            return
        if self._debugger.running:
            self._halted.clear()
            self._debugger.interrupt()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._halted.wait(), _STOP_SECONDS)
        if self._debugger.state is RunState.HALTED:
            self._write()

    def status(self, status: int) -> int:
        """Return the exit status of the session: *status*, or that of the worst reason."""
        return min((STATUSES[reason] for reason in self._met), default=status)

    def _write(self) -> None:
        if self._written:
            return
        self._written = True
        # Imported here, since few sessions write core files.
        from gdbstub.linux import core_file, vmcore
        from gdbstub.linux.guest import LinuxGuest
        from gdbstub.slices import MOST_STEPS, bounded

        inner, path = self._settings.inner, Path(self._settings.vmcore)
        file: AbstractContextManager[Write]
        file = core_file.handed_out(core_file.AUTOMATIC) if inner else core_file.new_file(path)
        try:
            with bounded(MOST_STEPS), file as write:
                missing = vmcore.write(
                    LinuxGuest(self._debugger.machine, self._debugger.memory), write
                )
        except (StubError, OSError) as error:  # the guest and its clients go on
            _log.error("--vmcore-on: %s", error)
            return
        if missing:
            _log.warning("the core file has no VMCOREINFO: %s", missing)
        if not inner:
            core_file.announce(path)
