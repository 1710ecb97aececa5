"""One session for any machine: debugger, server, console and script together, to its end.

It makes no machine. ``gdbstub run`` makes one of its own.
"""

import asyncio
import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from gdbstub.cli.serving import script
from gdbstub.cli.serving.ending import Ending
from gdbstub.cli.serving.script import limited
from gdbstub.cli.settings.endpoints import who_reaches
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.debug.debugger import Debugger
from gdbstub.errors import InputError, printable
from gdbstub.kvm import host_frame
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.machine import Machine
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.endpoint import Stdio
from gdbstub.protocol.record import Recorder
from gdbstub.protocol.server import Server
from gdbstub.signals import DeferredSignals, deferred_signals
from gdbstub.streams import PatientWriter, open_log
from gdbstub.vmm.console import keys_at_once, read_keys

if TYPE_CHECKING:
    from gdbstub.linux.core_file import CoreOutput

_log = logging.getLogger("gdbstub.run")

#: The pause before a guest that reads no keys is offered them again, in seconds.
_ROOM_SECONDS: Final = 0.05
#: Pause of asyncio before it asks a socket again, in seconds (ACCEPT_RETRY_DELAY).
_ACCEPT_SECONDS: Final = 1.0
#: Longest wait for the reader of a record that is a pipe, at the end, in seconds.
_RECORD_SECONDS: Final = 2.0
#: The time that a step or a short run takes at most; vCPUs have threads of their own.
STOP_WAIT_SECONDS: Final = 0.004


class SerialConsole(NamedTuple):
    """The serial line of a machine that has one in this process."""

    #: Takes typed bytes, and returns how many it had room for.
    receive: Callable[[bytes], int]
    #: Returns when all output so far is written.
    flush: Callable[[], None]
    #: The descriptor that keys are read from; None: nobody types.
    keyboard: int | None


def run_to_end(session: Callable[[DeferredSignals], Coroutine[None, None, int]]) -> int:
    """Run *session* to its end."""

    async def run(signals: DeferredSignals) -> int:
        asyncio.get_running_loop().set_exception_handler(LoopFailures().report)
        return await session(signals)

    # The loop is made first: if it cannot be, no coroutine is left behind.
    with deferred_signals() as signals, asyncio.Runner() as runner:
        return runner.run(run(signals))


class LoopFailures:
    """Log of what the event loop could not do: a client that cannot be taken is one line a second.

    The loop asks its socket a hundred times at once, and then again in a second.
    """

    def __init__(self) -> None:
        """Begin with nothing logged."""
        self._silent_until = 0.0

    def report(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Log one failure (``loop.set_exception_handler``)."""
        error = context.get("exception")
        if isinstance(error, MemoryError):
            _log.error("out of memory: what arrived is lost, and a client with it")
        elif not (isinstance(error, OSError) and "socket" in context):
            loop.default_exception_handler(context)
        elif loop.time() >= self._silent_until:
            self._silent_until = loop.time() + _ACCEPT_SECONDS
            _log.warning("cannot take a client yet: %s", error.strerror)


async def serve(
    machine: Machine,
    program: GuestProgram,
    settings: ServeSettings,
    stopped: "asyncio.Future[int]",
    *,
    console: SerialConsole | None = None,
    recorder: Recorder | None = None,
    started: Callable[[int], None] = lambda _: None,
    begin: Callable[[Debugger], None] = lambda _: None,
    end: Callable[[Debugger], None] = lambda _: None,
    hva: Callable[[int], int | None] = lambda _: None,
) -> int:
    """Serve *machine* to the end of the session, or until *stopped*; return the exit status.

    *machine* is halted; the caller closes it. *started* is called once clients may connect, with
    the number of the script's process or 0. *begin* and *end* are called before the first client
    and after the last. *hva* returns the place of a physical address in this process.

    Raises:
        InputError: the endpoint cannot be had.
        MachineError: the machine failed.
    """
    new_file = partial(_new_file, settings, hva)
    debugger = monitored_debugger(machine, program, stops=settings.stops, new_file=new_file)
    debugger.reboots = not settings.no_reboot
    begin(debugger)
    if console is not None:
        # A client may leave at once, and end the program that reads the console.
        debugger.at_end = console.flush
    server = Server(
        debugger,
        settings.endpoint,
        recorder=recorder,
        kill_on_disconnect=settings.kill_on_disconnect,
        encode=host_frame.encoder(),
        stop_wait_timeout=STOP_WAIT_SECONDS,
    )
    ending = Ending(debugger, settings, server, new_file)
    await server.start()
    try:
        async with (
            _typing(console),
            _qmp(settings, debugger, hva),
            contextlib.AsyncExitStack() as scripts,
        ):
            note = who_reaches(settings.endpoint)
            announce(
                server.endpoint, server.remote, settings.symbols, hint=settings.hint, note=note
            )
            process = await scripts.enter_async_context(_script(settings, server))
            started(process.pid if process else 0)
            if settings.free_run:
                debugger.detach()
            return ending.status(await first(stopped, _work(process, server, settings, ending)))
    finally:
        await ending.cancel()
        await server.close()
        end(debugger)


def _new_file(
    settings: ServeSettings, hva: Callable[[int], int | None], name: str
) -> "contextlib.AbstractContextManager[CoreOutput]":
    """Open the core file *name*; in a lab it is handed out."""
    # Imported here: few sessions write core files.
    from gdbstub.linux.core_file import new_file
    from gdbstub.linux.handed_out import handed_out

    return handed_out(name, hva) if settings.inner else new_file(Path(name))


async def _work(
    process: asyncio.subprocess.Process | None,
    server: Server,
    settings: ServeSettings,
    ending: Ending,
) -> int:
    """Wait for the end of a session and of what it writes; return its exit status."""
    status = await limited(_until_over(process, server), settings.timeout, ending.late)
    await ending.written()
    return status


async def _until_over(process: asyncio.subprocess.Process | None, server: Server) -> int:
    """Wait for the script's end where there is one, else for the guest's."""
    if process is not None:
        return await script.ended(process)
    await server.wait_ended()
    return 0


def _script(
    settings: ServeSettings, server: Server
) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process | None]:
    """Return the script's process while it is entered, if there is to be one."""
    if settings.script is None:
        return contextlib.nullcontext()
    symbols, qmp = settings.symbols, settings.qmp_path
    return script.started(settings.script, remote=server.remote, symbols=symbols, qmp=qmp)


def _qmp(
    settings: ServeSettings, debugger: Debugger, hva: Callable[[int], int | None]
) -> contextlib.AbstractAsyncContextManager[object]:
    """Return the server of ``--qmp``, if it was given."""
    if settings.qmp is None:
        return contextlib.nullcontext()
    from gdbstub.cli.serving.qmp import (  # imported here: few sessions have one
        MachineGuest,
        QmpServer,
    )

    return QmpServer(settings.qmp, MachineGuest(debugger, hva))


def wants_keys(settings: ServeSettings) -> bool:
    """Return True if standard input is free for the guest's keys."""
    return not isinstance(settings.endpoint, Stdio) and settings.script is None


def announce(endpoint: str, remote: str, symbols: str, *, hint: bool, note: str) -> None:
    """Print on standard error the endpoint, with *hint* the command that attaches, and *note*."""
    print(printable(f"gdbstub: listening on {endpoint}"), file=sys.stderr, flush=True)
    if hint:
        import shlex  # not at the top: by now we listen

        words = ["gdb-multiarch", *([symbols] if symbols else []), "-ex", f"target remote {remote}"]
        print(printable(f"  {shlex.join(words)}"), file=sys.stderr, flush=True)
    if note:
        print(printable(f"  {note}"), file=sys.stderr, flush=True)


async def first(stopped: "asyncio.Future[int]", work: Coroutine[None, None, int]) -> int:
    """Return the result of *work*, or of *stopped* if that comes first; cancel *work* then."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({stopped, task}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return stopped.result()


@contextlib.asynccontextmanager
async def until_signal(signals: DeferredSignals) -> "AsyncIterator[asyncio.Future[int]]":
    """Give a future that the first of *signals* sets to the exit status."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop() -> None:
        if not stopped.done():
            signals.handled = True
            stopped.set_result(128 + signals.arrived[0][0])

    def notify() -> None:
        loop.call_soon_threadsafe(stop)

    # A loop with a handler of its own is woken by any signal. It gets one that nobody sends and
    # that is ignored by default: when a handler of a loop goes, the default is in force for a
    # moment, and that of a SIGTERM would be the end of us.
    loop.add_signal_handler(signal.SIGURG, lambda: None)
    signals.on_arrival = notify
    if signals.arrived:
        stop()
    try:
        yield stopped
    finally:
        signals.on_arrival = None
        loop.remove_signal_handler(signal.SIGURG)


@contextlib.asynccontextmanager
async def _typing(console: SerialConsole | None) -> AsyncIterator[None]:
    """Bring typed keys to *console*."""
    if console is None or (fd := console.keyboard) is None:
        yield
        return
    with keys_at_once(fd):
        task = asyncio.ensure_future(pass_keys(fd, console.receive))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def pass_keys(fd: int, receive: Callable[[bytes], int]) -> None:
    """Pass all input from *fd* to *receive*, which returns how many bytes it has taken.

    Nothing more is read until all is taken: pasted text waits in the terminal.
    """
    while data := await _keys(fd):
        while data := data[receive(data) :]:  # noqa: ASYNC110 - nothing sets an event
            # The UART does not say when it has room; a person does not see the difference.
            await asyncio.sleep(_ROOM_SECONDS)


async def _keys(fd: int) -> bytes:
    """Read the next bytes from *fd*; empty at its end."""
    loop = asyncio.get_running_loop()
    while True:
        ready = asyncio.Event()
        try:
            loop.add_reader(fd, ready.set)
        except OSError:  # a plain file, which never lets anybody wait
            return read_keys(fd) or b""
        try:
            await ready.wait()
        finally:
            loop.remove_reader(fd)
        if (data := read_keys(fd)) is not None:
            return data


@contextlib.contextmanager
def recording(path: str | None) -> Iterator[Recorder | None]:
    """Open the recorder for ``--record``, if it was given.

    Raises:
        InputError: the file cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        descriptor = open_log(path)
    except OSError as error:
        raise InputError(f"--record {path}: {error.strerror}") from None
    writer = PatientWriter(descriptor, lambda lines: f"# {lines} lines are missing here\n", path)
    try:
        with io.TextIOWrapper(writer, "ascii") as file:
            yield Recorder(file)
            if lines := writer.finish(_RECORD_SECONDS):
                _log.warning("--record %s: nobody has read its last %d lines", path, lines)
    finally:
        os.close(descriptor)
