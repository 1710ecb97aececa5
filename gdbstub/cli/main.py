"""The entry of the command line: streams, signals, and an exit status for each error.

``commands`` has the commands. In a lab ``gdbstub run`` goes without it, and comes to ``run_with``
from here: see ``options``.
"""

import errno
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn

from gdbstub.cli.logs import Messages, set_up_logging
from gdbstub.cli.options import INNER, parse_written
from gdbstub.errors import InputError, StubError, SweepError, one_line
from gdbstub.signals import STOP_SIGNALS
from gdbstub.streams import note

#: Python's message where the system gives it no thread.
_NO_THREAD: Final = "can't start new thread"
#: The dynamic loader's messages where a library finds no memory.
_NO_ROOM: Final = ("failed to map segment", "cannot allocate memory", "Cannot allocate memory")
_NO_MEMORY: Final = "out of memory: give the guest less by --memory, or free some; see ulimit -v"
_REMEDIES: Final[dict[int | None, str]] = {
    errno.EMFILE: ": close some, or allow more by ulimit -n",
    errno.ENFILE: ": this machine has no more; end other programs",
}


class EndedBySignal(BaseException):
    """Request by a signal to end the program; ``status`` is the exit status for it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.status = 128 + signum


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Convert Ctrl-C, SIGTERM and SIGHUP in the block to ``EndedBySignal``; ignore later ones.

    After the block the program has its exit status, and nothing but Python's own end to come.
    """
    process = os.getpid()

    def stop(signum: int, _frame: FrameType | None) -> NoReturn:
        if os.getpid() != process:
            os._exit(128 + signum)  # a forked child, which must not unwind the parent's blocks
        for each in STOP_SIGNALS:
            # Python complains of a signal that has arrived and is ignored by the time it looks.
            signal.signal(each, lambda *_: None)
        raise EndedBySignal(signum)

    for each in STOP_SIGNALS:
        # A signal that is ignored already stays so: nohup sets that.
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, stop)
    try:
        yield
    finally:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)


def open_missing_streams() -> None:
    """Open /dev/null in place of a closed standard input, output or error."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free descriptor is taken, and those below are open by now.
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))  # noqa: SIM115
    sys.stderr = Messages(sys.stderr)


def main() -> None:
    """Run the console script: each deliberate error is one line and an exit status."""
    open_missing_streams()
    try:
        with ended_by_signals():
            status = call(sys.argv[1:])
    except EndedBySignal as stopped:
        status = stopped.status
    sys.exit(flushed(status))


def flushed(status: int) -> int:
    """Write what is left for the streams; return *status*, or 1 if standard output has failed."""
    if isinstance(sys.stderr, Messages):
        sys.stderr.finish()
    try:
        sys.stdout.flush()
    except OSError as error:
        # Else Python tries again as it ends, and says so in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not status and not isinstance(error, BrokenPipeError):
            _complain(f"standard output: {error.strerror}", 1)
        return status or 1
    return status


def call(arguments: list[str]) -> int:
    """Run the command line *arguments*; return the exit status.

    It is 2 for bad input and a sweep cut short, 1 for another failure and 130 after Ctrl-C.
    """
    try:
        if arguments[:1] == ["run"] and INNER in arguments:
            return _run_inner(arguments[1:])
        from gdbstub.cli.commands.group import call_command

        return call_command(arguments)
    except (InputError, SweepError) as error:
        return _complain(str(error), 2)
    except StubError as error:
        return _complain(str(error), 1)
    except MemoryError:
        return _complain(_NO_MEMORY, 1)
    except ImportError as error:
        if not any(words in str(error) for words in _NO_ROOM):
            raise
        return _complain(_NO_MEMORY, 1)
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        return _complain(f"{error}: free some memory, or see ulimit -u and ulimit -v", 1)
    except OSError as error:
        logging.getLogger("gdbstub").debug("a system call failed", exc_info=True)
        if error.errno == errno.ENOMEM:
            return _complain(_NO_MEMORY, 1)
        return _complain(one_line(error) + _REMEDIES.get(error.errno, ""), 1)
    except KeyboardInterrupt:
        return 130


def _run_inner(arguments: list[str]) -> int:
    """Run the stub in a lab, where a start is emulated: do what a start can do without."""
    gc.disable()  # nothing that an import makes is garbage
    sys.modules["ssl"] = None  # type: ignore[assignment] # asyncio then goes without it, as we do
    import gdbstub.cli.settings.run  # noqa: F401 - what run_with begins with, before the freeze

    gc.freeze()
    gc.enable()
    return run_with(**parse_written(arguments))


def run_with(where: str, endpoint: str | None, verbose: int, **options: Any) -> int:  # noqa: ANN401
    """Run ``gdbstub run`` with the values of its options; return the exit status.

    Raises:
        StubError: it cannot be done, with the reason.
    """
    from gdbstub.cli.settings.endpoints import endpoint_text
    from gdbstub.cli.settings.run import choose_host, read_settings

    set_up_logging(verbose)
    host = choose_host(where)
    with endpoint_text(endpoint, options["script"]) as text:
        settings = read_settings(host, endpoint=text, **options)
        # Imported here: a usage error needs neither a debugger nor a server.
        if host == "kvm":
            from gdbstub.cli.serving import run

            return run.run(settings)
        from gdbstub.cli.in_lab.run import serve_in_lab

        return serve_in_lab(settings, verbose)


def _complain(text: str, status: int) -> int:
    note(text)
    return status
