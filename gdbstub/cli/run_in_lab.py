"""``gdbstub run`` on a machine without arm64 KVM: the session runs inside the lab.

The checked settings are passed to the command there; the script of ``--script`` runs here.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from gdbstub.cli.endpoints import who_reaches
from gdbstub.cli.run import Settings, Source, console_fd
from gdbstub.cli.script import run_script
from gdbstub.cli.serve import ServeSettings, announce, first, recording, until_signal
from gdbstub.errors import InputError, LabError
from gdbstub.lab.host import Lab
from gdbstub.lab.port_forwards import PortForward, StdioForward, TcpForward, UnixForward
from gdbstub.lab.qemu import Options
from gdbstub.lab.remote_run import RemoteRun, RunRequest
from gdbstub.linux.kaslr import NO_PROGRAM
from gdbstub.protocol.endpoint import Endpoint, Stdio, Tcp, Unix
from gdbstub.signals import Waiting, signals_wait
from gdbstub.vmm.console import is_keyboard, keys_at_once

_log = logging.getLogger("gdbstub.run")

#: Interval of the keep-alive bytes; GDB's remotetimeout is 2 seconds by default.
_KEEP_ALIVE_SECONDS: Final = 0.5


class _KeepAliveStdioForward(StdioForward):
    """Forward from stdio that keeps GDB waiting while the lab boots.

    GDB sends a packet again after 2 seconds without a byte, and takes the second reply for that
    of its next packet. A byte outside a packet restarts its timeout and is ignored
    (gdb/remote.c, putpkt_binary and getpkt).
    """

    def __init__(self) -> None:
        super().__init__()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._wait, daemon=True)

    def check(self) -> None:
        """Start to send keep-alive bytes."""
        self._thread.start()

    def open(self, lab: Lab, port: int) -> tuple[str, int]:
        """Stop the keep-alive bytes, then forward the streams."""
        self._end()
        return super().open(lab, port)

    def close(self) -> None:
        """Stop the keep-alive bytes and the forward."""
        self._end()
        super().close()

    def _end(self) -> None:
        self._open.set()
        if self._thread.is_alive():
            self._thread.join()

    def _wait(self) -> None:
        with contextlib.suppress(OSError):
            while not self._open.wait(_KEEP_ALIVE_SECONDS):
                os.write(sys.stdout.fileno(), b"\n")


def serve_in_lab(settings: Settings, verbose: int) -> int:
    """Run the session to its end; return the exit status.

    Raises:
        InputError: the endpoint, the console or the record cannot be used.
        LabError: the lab cannot be built or booted.
    """
    forward = checked_forward(settings.serve.endpoint)
    with recording(settings.record):
        pass  # a file that cannot be opened is an error before the lab boots
    typing = (
        settings.console == "-"
        and settings.serve.script is None
        and is_keyboard(sys.stdin.fileno())
    )
    with contextlib.ExitStack() as stack:
        console = stack.enter_context(open(console_fd(settings), "wb"))
        spool = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gdbstub-")))
        request = RunRequest(
            argv=_arguments(settings, verbose, spool),
            forward=forward,
            record=Path(settings.record) if settings.record else None,
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
    ready = threading.Event()
    bound: list[str] = []

    def on_listening(endpoint: str, _port: int) -> None:
        bound.append(endpoint)
        ready.set()

    with contextlib.ExitStack() as stack:
        remote = stack.enter_context(RemoteRun(request, on_listening))
        ended = stack.enter_context(ThreadPoolExecutor(1)).submit(remote.wait)
        stack.callback(remote.close)
        ended.add_done_callback(lambda _: ready.set())
        ready.wait()
        if not bound:
            return ended.result()
        return _until_over(serve, bound[0], ended, typing=typing)


def _until_over(serve: ServeSettings, endpoint: str, ended: "Future[int]", *, typing: bool) -> int:
    remote = endpoint.removeprefix("unix:")
    note = who_reaches(serve.endpoint)
    announce(endpoint, remote, serve.symbols, hint=serve.hint, note=note)
    keys = keys_at_once(sys.stdin.fileno()) if typing else contextlib.nullcontext()
    with signals_wait() as signals, keys:
        if serve.script is not None:
            ended.add_done_callback(_complain)
            return asyncio.run(_script(serve, serve.script, remote, signals))
        return asyncio.run(_end(serve, ended, signals))


async def _end(serve: ServeSettings, ended: "Future[int]", signals: Waiting) -> int:
    # Not ``ended.result()``: a signal that arrives as that begins to wait would be lost.
    async def end() -> int:
        status = await asyncio.wrap_future(ended)
        left = isinstance(serve.endpoint, Stdio) and status == 128 + signal.SIGTERM
        return 0 if left else status  # the inner stub is told to stop when its only client leaves

    async with until_signal(signals) as stopped:
        return await first(stopped, end())


def _complain(ended: "Future[int]") -> None:
    """Say why the stub has ended before the script has, which decides the exit status."""
    if not ended.cancelled() and isinstance(error := ended.exception(), LabError):
        _log.error("%s", error)


async def _script(serve: ServeSettings, command: str, remote: str, signals: Waiting) -> int:
    async with until_signal(signals) as stopped:
        work = run_script(command, remote=remote, symbols=serve.symbols, seconds=serve.timeout)
        return await first(stopped, work)


def check_forward(endpoint: Endpoint) -> None:
    """Check that *endpoint* can be forwarded into a lab.

    Raises:
        InputError: it cannot.
    """
    if isinstance(endpoint, Tcp):
        # QEMU listens on one address; no other program may listen on the others.
        endpoint.check()
        if not endpoint.has(socket.AF_INET):
            raise InputError(f"{endpoint}: the lab is reached by IPv4 only; give localhost:PORT")
    if not isinstance(endpoint, Stdio):
        try:
            forward_to(endpoint).check()
        except LabError as error:
            raise InputError(f"{error}; choose another with --gdb") from None


def checked_forward(endpoint: Endpoint) -> PortForward:
    """Return the port forward into a lab for *endpoint*, with a warning if others may reach it.

    Raises:
        InputError: it cannot be forwarded.
    """
    check_forward(endpoint)
    if isinstance(endpoint, Tcp) and not endpoint.local:
        _log.warning("%s: whoever can reach it controls the guest", endpoint)
    return forward_to(endpoint)


def forward_to(endpoint: Endpoint) -> PortForward:
    """Return the port forward into a lab for *endpoint*."""
    match endpoint:
        case Tcp(host, port):
            return TcpForward(host, port)
        case Unix(path):
            return UnixForward(Path(path))
        case Stdio():
            return _KeepAliveStdioForward()


def _arguments(settings: Settings, verbose: int, spool: Path) -> list[str | Path]:
    """Build the arguments of ``gdbstub run`` in the lab, with a ``Path`` for each input file."""
    guest, files = settings.guest, settings.files
    arguments: list[str | Path] = [_again(files.guest, spool / "guest")]
    arguments += ["--host=kvm", "--inner", *["-v"] * verbose]
    arguments += [f"--smp={guest.vcpus}", f"--memory={guest.memory}", f"--cpu={guest.cpu}"]
    if files.initrd is not None:
        arguments += ["--initrd", _again(files.initrd, spool / "initrd")]
    if files.dtb is not None:
        arguments += ["--dtb", _again(files.dtb, spool / "dtb")]
    if guest.append is not None:
        arguments.append(f"--append={guest.append}")
    if guest.kaslr_seed is not None:
        arguments.append(f"--kaslr-seed={guest.kaslr_seed}")
    if settings.program != NO_PROGRAM:
        arguments.append(f"--program={settings.program.to_text()}")
    if settings.program.modules is not None:
        index = spool / "modules"
        index.write_text(settings.program.modules.to_text())
        arguments += ["--modules", index]
    if settings.serve.stop_on:
        arguments.append(f"--stop-on={','.join(settings.serve.stop_on)}")
    if settings.serve.free_run:
        arguments.append("--free-run")
    if settings.serve.kill_on_disconnect:
        arguments.append("--kill-on-disconnect")
    return arguments


def _again(source: Source, place: Path) -> Path:
    """Return a path with the contents of *source*: its own, or *place* if it was a pipe."""
    if source.data is None:
        return source.path
    place.write_bytes(source.data)
    return place
