"""One session on this machine's KVM: guest, debugger, server, console and script together.

It decides nothing that a room of its own decides; it starts them and ends them.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from gdbstub.cli.script import run_script
from gdbstub.errors import InputError
from gdbstub.kvm import host_frame
from gdbstub.linux.kaslr import NO_PROGRAM, GuestProgram, read_kernel
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.endpoint import Endpoint, Stdio
from gdbstub.protocol.record import Recorder
from gdbstub.protocol.server import Server
from gdbstub.signals import Waiting, signals_wait
from gdbstub.vmm import image, layout
from gdbstub.vmm.console import (
    ConsoleOutput,
    is_keyboard,
    keys_at_once,
    open_output,
    read_keys,
)
from gdbstub.vmm.files import read_input
from gdbstub.vmm.guest import Guest, GuestConfig

_log = logging.getLogger("gdbstub.run")

#: How long a guest that reads no keys is left alone before it is offered them again.
_ROOM_SECONDS: Final = 0.05
#: Time in which a step has stopped, and a short run. vCPUs have threads of their own.
STOP_WAIT_SECONDS: Final = 0.004


class Source(NamedTuple):
    """A file that was read; ``data`` is kept of one that cannot be read again, a pipe."""

    path: Path
    data: bytes | None

    @classmethod
    def read(cls, path: Path, option: str = "") -> tuple[Self, bytes]:
        """Read *path*, which *option* named.

        Raises:
            InputError: it cannot be read.
        """
        data = read_input(path, option)
        return cls(path, None if path.is_file() else data), data


class Files(NamedTuple):
    """The files that a guest was read from, for whoever must hand them on."""

    guest: Source
    initrd: Source | None
    dtb: Source | None


class Settings(NamedTuple):
    """What ``gdbstub run`` was asked for, checked."""

    guest: GuestConfig
    files: Files
    endpoint: Endpoint
    symbols: str = ""
    program: GuestProgram = NO_PROGRAM
    free_run: bool = False
    kill_on_disconnect: bool = False
    console: str = "-"
    script: str | None = None
    timeout: float | None = None
    record: str | None = None
    #: We run inside a lab for somebody outside: standard input is the console's in any case.
    inner: bool = False


def read_program(symbols: Path | None, guest: image.Guest) -> GuestProgram:
    """What clients have symbols of, and what these tell of a Linux kernel."""
    if symbols is None:
        return NO_PROGRAM
    kernel = None
    if isinstance(guest, image.LinuxImage) and symbols.is_file():
        ipa = layout.RAM_BASE + guest.text_offset
        try:
            data = read_input(symbols, "--symbols")
            kernel = read_kernel(data, str(symbols), guest.data, ipa)
        except InputError as error:
            _log.info("%s: so a kernel with KASLR is not found", error)
    return GuestProgram(str(symbols.absolute()), kernel)


def announce(endpoint: str, remote: str, symbols: str, *, hint: bool) -> None:
    """Say on standard error where we listen, and how to attach."""
    print(f"gdbstub: listening on {endpoint}", file=sys.stderr, flush=True)
    if hint:
        import shlex  # not at the top: by now we listen

        words = ["gdb-multiarch", *([symbols] if symbols else []), "-ex", f"target remote {remote}"]
        print(f"  {shlex.join(words)}", file=sys.stderr, flush=True)


def run(settings: Settings) -> int:
    """``serve`` to its end, on uvloop's event loop where that is installed."""
    factory = _loop_factory()
    with signals_wait() as signals, asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(serve(settings, signals))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def serve(settings: Settings, signals: Waiting) -> int:
    """Run the session to its end, or until one of *signals*; return the exit status.

    Raises:
        InputError: something asked for cannot be had.
        MachineError: KVM failed.
    """
    async with until_signal(signals) as stopped:
        with contextlib.ExitStack() as stack:
            recorder = stack.enter_context(recording(settings.record))
            output = ConsoleOutput(console_fd(settings))
            stack.callback(output.close)
            guest = Guest(settings.guest, output.write)
            stack.callback(guest.close)
            debugger = monitored_debugger(guest.machine, settings.program)
            # A client may leave at once, and take with it who reads the console.
            debugger.at_end = output.flush
            server = Server(
                debugger,
                settings.endpoint,
                recorder=recorder,
                kill_on_disconnect=settings.kill_on_disconnect,
                encode=host_frame.encode,
                stop_wait_timeout=STOP_WAIT_SECONDS,
            )
            await server.start()
            try:
                async with _typing(settings, guest.receive):
                    hint = not (
                        settings.inner or settings.script or isinstance(settings.endpoint, Stdio)
                    )
                    announce(server.endpoint, server.remote, settings.symbols, hint=hint)
                    if settings.free_run:
                        debugger.detach()
                    return await first(stopped, _until_over(settings, server))
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


async def first(stopped: "asyncio.Future[int]", work: Coroutine[None, None, int]) -> int:
    """The result of *work*, or of *stopped* if that comes first; *work* is cancelled then."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({stopped, task}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return stopped.result()


@contextlib.asynccontextmanager
async def until_signal(signals: Waiting) -> "AsyncIterator[asyncio.Future[int]]":
    """Have one of *signals* set a future to the exit status, and do nothing else."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop() -> None:
        if not stopped.done():
            signals.taken = True
            stopped.set_result(128 + signals.came[0][0])

    def notify() -> None:
        loop.call_soon_threadsafe(stop)

    # A loop with a handler of its own is woken by any signal. It gets one that nobody sends and
    # that is ignored by default: when a handler of a loop goes, the default is in force for a
    # moment, and that of a SIGTERM would be the end of us.
    loop.add_signal_handler(signal.SIGURG, lambda: None)
    signals.told = notify
    if signals.came:
        stop()
    try:
        yield stopped
    finally:
        signals.told = None
        loop.remove_signal_handler(signal.SIGURG)


@contextlib.asynccontextmanager
async def _typing(settings: Settings, receive: Callable[[bytes], int]) -> AsyncIterator[None]:
    """Bring what is typed to the guest's console."""
    fd = sys.stdin.fileno()
    wanted = settings.inner or (settings.console == "-" and is_keyboard(fd))
    if not wanted or isinstance(settings.endpoint, Stdio) or settings.script is not None:
        yield
        return
    with keys_at_once(fd):
        task = asyncio.ensure_future(pass_keys(fd, receive))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def pass_keys(fd: int, receive: Callable[[bytes], int]) -> None:
    """Hand all that comes from *fd* to *receive*, which says how much it has taken.

    Nothing more is read until all is taken: what is pasted waits where it comes from.
    """
    while data := await _keys(fd):
        while data := data[receive(data) :]:  # noqa: ASYNC110 - nothing sets an event
            # The UART does not say when it has room; a person does not see the difference.
            await asyncio.sleep(_ROOM_SECONDS)


async def _keys(fd: int) -> bytes:
    """The next bytes from *fd*; empty at its end."""
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


def console_fd(settings: Settings) -> int:
    """Where the guest's console goes, as a descriptor of the caller's own."""
    if settings.console == "-" and isinstance(settings.endpoint, Stdio):
        return os.dup(sys.stderr.fileno())  # standard output is the client's
    return open_output(settings.console)
