"""One session on this machine's KVM: guest, debugger, server, console and script together.

It decides nothing that a room of its own decides; it starts them and ends them.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path

from gdbstub.debugger import Debugger
from gdbstub.endpoint import Endpoint, Stdio
from gdbstub.errors import InputError
from gdbstub.record import Recorder
from gdbstub.script import run_script
from gdbstub.server import Server
from gdbstub.vmm.console import ConsoleOutput, keys_at_once, open_output, read_keys
from gdbstub.vmm.guest import Guest, GuestConfig

_log = logging.getLogger("gdbstub.run")


@dataclass(frozen=True, slots=True)
class Files:
    """The files that a guest was read from, for whoever must hand them on."""

    guest: Path
    initrd: Path | None
    dtb: Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``gdbstub run`` was asked for, checked."""

    guest: GuestConfig
    files: Files
    endpoint: Endpoint
    symbols: str = ""
    free_run: bool = False
    console: str = "-"
    script: str | None = None
    timeout: float | None = None
    record: str | None = None
    #: We run inside a lab for somebody outside: standard input is the console's in any case.
    inner: bool = False


def announce(endpoint: str, remote: str, symbols: str, *, hint: bool) -> None:
    """Say on standard error where we listen, and how to attach."""
    print(f"gdbstub: listening on {endpoint}", file=sys.stderr, flush=True)
    if hint:
        words = ["gdb-multiarch", *([symbols] if symbols else []), "-ex"]
        print(f"  {' '.join(words)} 'target remote {remote}'", file=sys.stderr, flush=True)


async def serve(settings: Settings) -> int:
    """Run the session to its end; return the exit status.

    Raises:
        InputError: something asked for cannot be had.
        MachineError: KVM failed.
    """
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with contextlib.ExitStack() as stack:
        recorder = stack.enter_context(recording(settings.record))
        output = ConsoleOutput(_console_fd(settings))
        stack.callback(output.close)
        guest = Guest(settings.guest, output.write)
        stack.callback(guest.close)
        debugger = Debugger(guest.machine)
        server = Server(debugger, settings.endpoint, recorder=recorder)
        await server.start()
        try:
            async with _signals(stopped), _typing(settings, guest):
                hint = not (
                    settings.inner or settings.script or isinstance(settings.endpoint, Stdio)
                )
                announce(server.endpoint, server.remote, settings.symbols, hint=hint)
                if settings.free_run:
                    debugger.detach()
                return await _first(stopped, _until_over(settings, server))
        finally:
            await server.close()


async def _until_over(settings: Settings, server: Server) -> int:
    """Wait for the script's end where there is one, else for the guest's."""
    if settings.script is None:
        await server.wait_ended()
        return 0
    return await run_script(
        settings.script, remote=server.remote, symbols=settings.symbols, seconds=settings.timeout
    )


async def _first(stopped: "asyncio.Future[int]", work: Coroutine[None, None, int]) -> int:
    task = asyncio.ensure_future(work)
    await asyncio.wait({stopped, task}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return stopped.result()


@contextlib.asynccontextmanager
async def _signals(stopped: "asyncio.Future[int]") -> AsyncIterator[None]:
    """Ctrl-C and SIGTERM end the session in good order."""
    loop = asyncio.get_running_loop()

    def stop(signum: int) -> None:
        if not stopped.done():
            stopped.set_result(128 + signum)

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for each in wanted:
        loop.add_signal_handler(each, stop, each)
    try:
        yield
    finally:
        for each in wanted:
            loop.remove_signal_handler(each)


@contextlib.asynccontextmanager
async def _typing(settings: Settings, guest: Guest) -> AsyncIterator[None]:
    """Bring what is typed to the guest's console."""
    fd = sys.stdin.fileno() if sys.stdin else -1
    wanted = settings.inner or (settings.console == "-" and fd >= 0 and os.isatty(fd))
    if not wanted or isinstance(settings.endpoint, Stdio) or settings.script is not None:
        yield
        return
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not read_keys(fd, guest.receive):
            loop.remove_reader(fd)

    with keys_at_once(fd):
        try:
            loop.add_reader(fd, readable)
        except OSError:  # a plain file: nothing to wait for
            _log.warning("standard input cannot be waited for; the console gets no input")
        try:
            yield
        finally:
            loop.remove_reader(fd)


@contextlib.contextmanager
def recording(path: str | None) -> Iterator[Recorder | None]:
    """The recorder for ``--record``, if it was given.

    Raises:
        InputError: the file cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        file = open(path, "w", encoding="ascii")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"--record {path}: {error.strerror}") from None
    with file:
        yield Recorder(file)


def _console_fd(settings: Settings) -> int:
    if settings.console == "-" and isinstance(settings.endpoint, Stdio):
        return os.dup(sys.stderr.fileno())  # standard output is the client's
    return open_output(settings.console)
