"""End of a session by what a Linux guest does, or by its time: exit status and core file."""

import asyncio
import logging
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from gdbstub.debug.debugger import Debugger
from gdbstub.debug.extensions import Observer
from gdbstub.debug.run_state import RunState
from gdbstub.errors import StubError
from gdbstub.linux.reasons import STATUSES
from gdbstub.linux.stop_on import StopOn
from gdbstub.slices import in_slices
from gdbstub.target import Stopped

if TYPE_CHECKING:
    from gdbstub.cli.settings.serve import ServeSettings
    from gdbstub.linux.core_file import NewFile

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
    """Writes the core file of ``--vmcore-on``, once, and knows the exit status of ``--stop-on``.

    The file is written in slices of the event loop's time. A client hears of a stop that is a
    reason for it when it is written; 0x03 ends the writing. It implements ``Examiner``.
    """

    def __init__(
        self,
        debugger: Debugger,
        settings: "ServeSettings",
        server: Clients,
        new_file: "NewFile",
    ) -> None:
        """Follow *debugger*, if a stop may be a reason for a core file; *new_file* opens that."""
        self._debugger = debugger
        self._settings = settings
        self._server = server
        self._new_file = new_file
        self._noticed = 0
        self._late = False  # the next stop is for the end of the time
        self._writing: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        if settings.vmcore_on:  # else a stop costs nothing more
            debugger.examiner = self
            debugger.observers.append(self)

    @property
    def _met(self) -> list[str]:
        """Reasons that came."""
        points = (each for each in self._debugger.stop_points if isinstance(each, StopOn))
        return next((each.met for each in points), [])

    @property
    def busy(self) -> bool:
        """True while the core file is written."""
        return self._writing is not None and not self._writing.done()

    def begin(self, stop: Stopped) -> None:
        """Begin to write the core file at a stop for one of its reasons."""
        if self._late or any(each in self._settings.vmcore_on for each in self._news):
            self._write()

    def interrupt(self) -> None:
        """End the writing: somebody at a client does not want to wait for it."""
        if self.busy and self._writing:
            self._writing.cancel()

    @property
    def _news(self) -> list[str]:
        """Reasons since the last stop."""
        return self._met[self._noticed :]

    def stopped(self, stop: Stopped) -> None:
        """End the session at a stop for one of the file's reasons, if nobody waits for it."""
        reasons, self._noticed = self._news, len(self._met)
        if not any(each in self._settings.vmcore_on for each in reasons):
            return
        awaited = any(each in self._settings.stop_on for each in reasons)
        if not (awaited or self._settings.script or self._server.client):
            self._server.end()

    async def late(self) -> None:
        """Halt the guest and write the core file, if the end of the time is a reason for it."""
        if "timeout" not in self._settings.vmcore_on:
            return
        if self._debugger.running and self._writing is None:
            self._late = True
            self._debugger.interrupt()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._begun.wait(), _STOP_SECONDS)
        if self._debugger.state is RunState.HALTED:
            self._write()
        await self.written()

    async def written(self) -> None:
        """Wait until the core file that has been begun is written."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def cancel(self) -> None:
        """End the writing, and write no file any more."""
        self._debugger.examiner = None
        self.interrupt()
        await self.written()

    def status(self, status: int) -> int:
        """Return the exit status of the session: *status*, or that of the worst reason."""
        return min((STATUSES[reason] for reason in self._met), default=status)

    def _write(self) -> None:
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._in_slices())
            self._writing.add_done_callback(lambda _: self._debugger.notify())
            self._begun.set()

    async def _in_slices(self) -> None:
        try:
            slices = in_slices(self._core_file)
            with closing(slices):
                for _ in slices:
                    await asyncio.sleep(0)
        except (StubError, OSError) as error:  # the guest and its clients go on
            _log.error("--vmcore-on: %s", error)
        except asyncio.CancelledError:
            _log.warning("--vmcore-on: interrupted: there is no core file")
        except Exception:
            _log.exception("--vmcore-on: the core file cannot be written")

    def _core_file(self) -> None:
        # Imported here, since few sessions write core files.
        from gdbstub.linux import core_file, vmcore
        from gdbstub.linux.guest import LinuxGuest
        from gdbstub.linux.handed_out import AUTOMATIC

        inner, name = self._settings.inner, self._settings.vmcore
        with self._new_file(AUTOMATIC if inner else name) as output:
            guest = LinuxGuest(self._debugger.machine, self._debugger.memory)
            _, missing = vmcore.write(guest, output)
        if missing:
            _log.warning("the core file has no VMCOREINFO: %s", missing)
        if not inner:
            core_file.announce(Path(name))
