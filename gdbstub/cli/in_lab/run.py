"""``gdbstub run`` on a machine without arm64 KVM: the session runs inside the lab.

The checked settings are passed to the command there; the script of ``--script`` runs here.
"""

import asyncio
import contextlib
import logging
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from gdbstub.cli.serving.run import console_fd
from gdbstub.cli.serving.script import limited, run_script
from gdbstub.cli.serving.serve import announce, first, until_signal
from gdbstub.cli.settings.endpoints import who_reaches
from gdbstub.cli.settings.forwards import checked_forward
from gdbstub.cli.settings.program import start_of
from gdbstub.cli.settings.run import Settings, Source
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.errors import LabError
from gdbstub.lab import private
from gdbstub.lab.qemu import ADDRESS, Options
from gdbstub.lab.remote_run import RemoteRun, RunRequest
from gdbstub.linux.handed_out import AUTOMATIC
from gdbstub.linux.kaslr import NO_PROGRAM, GuestProgram
from gdbstub.linux.reasons import STATUSES
from gdbstub.protocol.endpoint import Stdio
from gdbstub.signals import DeferredSignals, deferred_signals
from gdbstub.vmm.console import is_keyboard, keys_at_once
from gdbstub.vmm.size import format_figure

_log = logging.getLogger("gdbstub.run")

#: Longest time in which nothing comes of the core file of a session that is over.
_CORE_SECONDS: Final = 120.0
#: Longest wait for the stub's end when its lab has ended.
_LOSS_SECONDS: Final = 2.0


def serve_in_lab(settings: Settings, verbose: int) -> int:
    """Run the session to its end; return the exit status.

    Raises:
        InputError: the endpoint, the console or the record cannot be used.
        LabError: the lab cannot be built or booted.
    """
    forward = checked_forward(settings.serve.endpoint)
    typing = (
        settings.console == "-"
        and settings.serve.script is None
        and is_keyboard(sys.stdin.fileno())
    )
    with contextlib.ExitStack() as stack:
        console = stack.enter_context(open(console_fd(settings), "wb"))
        spool = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="gdbstub-", dir=private.place(large=True))
            )
        )
        request = RunRequest(
            argv=_arguments(settings, verbose, spool),
            forward=forward,
            record=Path(settings.record) if settings.record else None,
            vmcore=Path(settings.serve.vmcore) if settings.serve.vmcore else None,
            memory=settings.guest.memory,
            stdin=None if typing else subprocess.DEVNULL,
            stdout=console,
            # A lab with memory tags is slower, so it has them only on request.
            options=Options(mte=True) if settings.guest.cpu.mte else None,
        )
        return serve_request(request, settings.serve, typing=typing)


def serve_request(request: RunRequest, serve: ServeSettings, *, typing: bool = False) -> int:
    """Run a command in the lab and serve its guest here; return the exit status.

    Raises:
        LabError: the lab cannot be built or booted.
    """
    # Not an event: a signal's handler could raise with its lock taken, which a thread waits for.
    ready = queue.SimpleQueue[None]()
    bound: list[str] = []

    def on_listening(endpoint: str, _port: int) -> None:
        bound.append(endpoint)
        ready.put(None)

    with contextlib.ExitStack() as stack:
        remote = stack.enter_context(RemoteRun(request, on_listening))
        with deferred_signals():  # so are the locks of the executor and the future
            ended = stack.enter_context(ThreadPoolExecutor(1)).submit(remote.wait)
            stack.callback(remote.close)
            ended.add_done_callback(lambda _: ready.put(None))
        ready.get()
        if not bound:
            return ended.result()
        qmp = stack.enter_context(_qmp(remote, serve))
        status = _until_over(serve, bound[0], remote, ended, qmp, typing=typing)
        if status and serve.script is not None and not remote.lab_running:
            with deferred_signals():  # for its message: a script ends too without its lab
                wait([ended], _LOSS_SECONDS)
    # The stub there knows why it has stopped its guest; a script does not.
    known = remote.status
    if serve.stops and known is not None and known in STATUSES.values():
        return known
    return status


#: Server of ``--qmp``, made when its event loop runs.
Qmp = Callable[[], contextlib.AbstractAsyncContextManager[object]]


@contextlib.contextmanager
def _qmp(remote: RemoteRun, serve: ServeSettings) -> Iterator[Qmp]:
    """Give the server of ``--qmp`` over the guest of *remote*, or of nothing without ``--qmp``."""
    if serve.qmp is None:
        yield contextlib.nullcontext
        return
    from gdbstub.cli.in_lab.qmp import LabGuest
    from gdbstub.cli.serving.qmp import QmpServer  # imported here: few sessions have one

    endpoint = serve.qmp
    with tempfile.TemporaryDirectory(prefix="gdbstub-", dir=private.place()) as directory:
        path = Path(directory) / "qmp"
        with remote.qmp_forward(path), contextlib.closing(LabGuest(path)) as guest:
            yield lambda: QmpServer(endpoint, guest)


def _until_over(
    serve: ServeSettings,
    endpoint: str,
    inner: RemoteRun,
    ended: "Future[int]",
    qmp: Qmp,
    *,
    typing: bool,
) -> int:
    remote = endpoint.removeprefix("unix:")
    note = who_reaches(serve.endpoint)
    keys = keys_at_once(sys.stdin.fileno()) if typing else contextlib.nullcontext()
    with deferred_signals() as signals, keys, asyncio.Runner() as runner:
        # Who reads this may press Ctrl-C at once, which must not come in the middle of it.
        announce(endpoint, remote, serve.symbols, hint=serve.hint, note=note)
        if serve.script is None:
            work = _end(serve, ended)
        else:
            ended.add_done_callback(_complain)
            work = _script(serve, serve.script, remote, inner)
        return runner.run(_limited(work, serve, _core_copied(serve, ended, inner), signals, qmp))


async def _end(serve: ServeSettings, ended: "Future[int]") -> int:
    # Not ``ended.result()``: a signal that arrives as that begins to wait would be lost.
    status = await asyncio.wrap_future(ended)
    left = isinstance(serve.endpoint, Stdio) and status == 128 + signal.SIGTERM
    return 0 if left else status  # the inner stub is told to stop when its only client leaves


async def _script(serve: ServeSettings, command: str, remote: str, inner: RemoteRun) -> int:
    status = await run_script(command, remote=remote, symbols=serve.symbols, qmp=serve.qmp_path)
    await _while_written(inner.copied, inner)
    return status


async def _limited(
    work: Coroutine[None, None, int],
    serve: ServeSettings,
    late: Callable[[], Awaitable[None]],
    signals: DeferredSignals,
    qmp: Qmp,
) -> int:
    """Return the result of *work*, within its time and until a signal comes."""
    async with until_signal(signals) as stopped, qmp():
        return await first(stopped, limited(work, serve.timeout, late))


def _core_copied(
    serve: ServeSettings, ended: "Future[int]", inner: RemoteRun
) -> Callable[[], Awaitable[None]]:
    """Return a wait for the core file: one that is copied, or that the stub writes at its end."""

    async def wait() -> None:
        await _while_written(ended if "timeout" in serve.vmcore_on else inner.copied, inner)

    return wait


async def _while_written(future: "Future[int] | Future[None]", inner: RemoteRun) -> None:
    """Wait until *future* is done, while more and more of a core file is written."""
    before = -1
    while not future.done() and inner.core_bytes != before:
        before = inner.core_bytes
        await asyncio.wait({asyncio.wrap_future(future)}, timeout=_CORE_SECONDS)


def _complain(ended: "Future[int]") -> None:
    """Say why the stub has ended before the script has, which decides the exit status."""
    if not ended.cancelled() and isinstance(error := ended.exception(), LabError):
        _log.error("%s", error)


def _arguments(settings: Settings, verbose: int, spool: Path) -> list[str | Path]:
    """Build the arguments of ``gdbstub run`` in the lab, with a ``Path`` for each input file."""
    guest, files = settings.guest, settings.files
    arguments: list[str | Path] = [_again(files.guest, spool / "guest")]
    arguments += ["--host=kvm", "--inner", *["-v"] * verbose]
    arguments += [f"--smp={guest.vcpus}", f"--memory={guest.memory}", f"--cpu={guest.cpu}"]
    if (start := start_of(guest.image)) is not None:
        arguments.append(f"--load={start:#x}")
    if files.initrd is not None:
        arguments += ["--initrd", _again(files.initrd, spool / "initrd")]
    if files.dtb is not None:
        arguments += ["--dtb", _again(files.dtb, spool / "dtb")]
    if guest.append is not None:
        arguments.append(f"--append={guest.append}")
    if guest.kaslr_seed is not None:
        arguments.append(f"--kaslr-seed={guest.kaslr_seed}")
    return arguments + session_arguments(settings.serve, settings.program, spool)


def session_arguments(serve: ServeSettings, program: GuestProgram, spool: Path) -> list[str | Path]:
    """Build the arguments of a session in the lab, whatever its machine, with files in *spool*."""
    arguments: list[str | Path] = []
    if program != NO_PROGRAM:
        arguments.append(f"--program={program.to_text()}")
    if program.modules is not None:
        index = spool / "modules"
        _keep(index, program.modules.to_text().encode(), "the index of --modules")
        arguments += ["--modules", index]
    if serve.stop_on:
        arguments.append(f"--stop-on={','.join(serve.stop_on)}")
    if serve.vmcore_on:
        arguments += ["--vmcore-on", ",".join(serve.vmcore_on), AUTOMATIC]
    if "timeout" in serve.vmcore_on:
        arguments.append(f"--timeout={serve.timeout}")
    if serve.qmp is not None:
        arguments.append(f"--qmp={ADDRESS}:0")
    if serve.no_reboot:
        arguments.append("--no-reboot")
    if serve.free_run:
        arguments.append("--free-run")
    if serve.kill_on_disconnect:
        arguments.append("--kill-on-disconnect")
    return arguments


def _again(source: Source, place: Path) -> Path:
    """Return a path with the contents of *source*: its own, or *place* if it was a pipe."""
    if source.data is None:
        return source.path
    _keep(place, source.data, str(source.path))
    return place


def _keep(place: Path, data: bytes, what: str) -> None:
    """Write *data* to the file *place*, from which it goes into the lab.

    Raises:
        LabError: it cannot be written.
    """
    try:
        place.write_bytes(data)
    except OSError as error:
        raise LabError(
            f"{what} cannot be kept in {place.parent} on its way into the lab ({error.strerror}): "
            f"free {format_figure(len(data))} there, or set TMPDIR to another directory of yours"
        ) from None
