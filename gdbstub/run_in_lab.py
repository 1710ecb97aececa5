"""``gdbstub run`` where there is no arm64 KVM: the same session, inside the lab.

It passes the checked settings on and runs the script here; ``lab/`` does the rest.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gdbstub.endpoint import Stdio, Tcp, Unix
from gdbstub.errors import InputError
from gdbstub.lab.doors import Door, StdioDoor, TcpDoor, UnixDoor
from gdbstub.lab.errors import LabError
from gdbstub.lab.remote_run import RemoteRun, Request
from gdbstub.run import Settings, announce
from gdbstub.script import run_script
from gdbstub.vmm.console import keys_at_once, open_output


class _Stopped(BaseException):
    """A signal asked us to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.status = 128 + signum


def serve_in_lab(settings: Settings, verbose: int) -> int:
    """Run the session to its end; return the exit status.

    Raises:
        InputError: the endpoint or the console cannot be had.
        LabError: the lab cannot be made or does not come up.
    """
    door = _door(settings)
    try:
        door.check()
    except LabError as error:
        raise InputError(f"{error}; choose another with --gdb") from None
    typing = settings.console == "-" and settings.script is None and sys.stdin.isatty()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_signals())
            console = stack.enter_context(open(open_output(settings.console), "wb"))
            news = threading.Event()
            bound: list[str] = []

            def on_listening(endpoint: str, _port: int) -> None:
                bound.append(endpoint)
                news.set()

            request = Request(
                argv=_arguments(settings, verbose),
                door=door,
                record=Path(settings.record) if settings.record else None,
                stdin=None if typing else subprocess.DEVNULL,
                stdout=console,
            )
            remote = stack.enter_context(RemoteRun(request, on_listening))
            ended = stack.enter_context(ThreadPoolExecutor(1)).submit(remote.wait)
            stack.callback(remote.close)
            ended.add_done_callback(lambda _: news.set())
            news.wait()
            if not bound:
                return ended.result()
            return _until_over(settings, bound[0], ended, typing=typing)
        except _Stopped as stopped:
            return stopped.status


def _until_over(settings: Settings, endpoint: str, ended: "Future[int]", *, typing: bool) -> int:
    remote = endpoint.removeprefix("unix:")
    hint = settings.script is None and not isinstance(settings.endpoint, Stdio)
    announce(endpoint, remote, settings.symbols, hint=hint)
    if settings.script is not None:
        return asyncio.run(
            run_script(
                settings.script,
                remote=remote,
                symbols=settings.symbols,
                seconds=settings.timeout,
            )
        )
    with keys_at_once(sys.stdin.fileno()) if typing else contextlib.nullcontext():
        return ended.result()


def _door(settings: Settings) -> Door:
    match settings.endpoint:
        case Tcp(host, port):
            return TcpDoor(host, port)
        case Unix(path):
            return UnixDoor(Path(path))
        case Stdio():
            return StdioDoor()


def _arguments(settings: Settings, verbose: int) -> list[str | Path]:
    """What ``gdbstub run`` gets in the lab; a ``Path`` is copied there."""
    guest, files = settings.guest, settings.files
    arguments: list[str | Path] = [files.guest, "--host=kvm", "--inner", *["-v"] * verbose]
    arguments += [f"--smp={guest.vcpus}", f"--memory={guest.memory}"]
    if files.initrd is not None:
        arguments += ["--initrd", files.initrd]
    if files.dtb is not None:
        arguments += ["--dtb", files.dtb]
    if guest.append is not None:
        arguments.append(f"--append={guest.append}")
    if settings.free_run:
        arguments.append("--free-run")
    return arguments


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the session in good order; a second one does not disturb that."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(signum: int, _frame: FrameType | None) -> NoReturn:
        for each in wanted:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(signum)

    before = {each: signal.signal(each, stop) for each in wanted}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
