"""``gdbstub run`` inside the lab, with the streams and the exit status of a local run.

It depends on three things of the inner command, and nothing of guests: a line on stderr with the
address that it listens on, its end by SIGTERM, and its exit status.
"""

import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Self

from gdbstub.errors import InputError, LabError, printable
from gdbstub.lab.core_files import CoreFiles
from gdbstub.lab.host import Lab, Stream
from gdbstub.lab.opening import open_lab
from gdbstub.lab.port_forwards import PortForward, StdioForward, UnixForward
from gdbstub.lab.qemu import ADDRESS, PROGRAM, Options
from gdbstub.lab.transfer import offer
from gdbstub.linux.handed_out import HANDED_OUT
from gdbstub.streams import note, open_log

LISTENING: Final = re.compile(rb"gdbstub: listening on (\S+):(\d{1,5})\s*")
QMP: Final = re.compile(rb"gdbstub: QMP on \S+:(\d{1,5})\s*")
SSH_SAYS: Final = re.compile(
    rb"(?:Connection to \S+ closed by remote host\.|Connection (?:closed|reset) by .*"
    rb"|client_loop: .*|Timeout, server .*)\r?\n"
)
"""Lines of ssh itself about a connection that has ended, for which we have one of our own."""

SSH_FAILED: Final = 255
"""Exit status of ssh where the connection has failed."""

CUT: Final = "the connection to the lab was cut"
ENDED: Final = f"the lab's emulator, {PROGRAM}, has ended"
KILLED: Final = "the stub in the lab was killed by"
LOST: Final = (CUT, ENDED, KILLED)
"""Parts of the messages by which a run says that it has lost its lab, or its stub there."""

NOT_BEGUN: Final = 97
"""Exit status of the order to end the command, where that has not begun."""

STOP_SECONDS: Final = 10.0
"""Time that the inner command has to end after SIGTERM; then it is killed."""

#: Longest piece of a line from the lab, in bytes.
_LONGEST: Final = 1 << 16
#: Longest time that a killed emulator takes to end.
_DYING_SECONDS: Final = 2.0

OnListening = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Command line, streams and port forward of one run in the lab.

    *argv* follows ``gdbstub run`` in the lab. A ``Path`` in it is a file of this machine, which
    is copied into the lab and replaced by its path there. The streams are as for
    ``subprocess.Popen``.
    """

    argv: Sequence[str | Path]
    forward: PortForward
    record: Path | None = None
    #: File of this machine for the core file that the command writes unasked.
    vmcore: Path | None = None
    #: Size of the guest's RAM in bytes, by which its core files are bounded; 0: the lab's.
    memory: int = 0
    stdin: Stream = None
    stdout: Stream = None
    options: Options | None = None
    command: Sequence[str] = ("gdbstub", "run")
    #: Called with the lab before the command starts.
    prepare: Callable[[Lab], None] = lambda _: None
    #: Returns the end of the command line, which depends on the lab.
    rest: Callable[[Lab], Sequence[str]] = lambda _: ()


class RemoteRun:
    """A stub that is running in the lab; use as a context manager, or ``close`` it."""

    def __init__(self, request: RunRequest, on_listening: OnListening) -> None:
        """Start or join a lab and start the command there (about 1 s).

        *on_listening* is called once, on another thread, with the address as a user writes it
        (``localhost:1234``) and the TCP port, or 0.

        Raises:
            LabError: the lab cannot be used; an endpoint that cannot be used is reported before
                a lab is booted, and so is a record.
            InputError: the record cannot be written.
        """
        self._request = request
        self._on_listening = on_listening
        self._failure: LabError | None = None
        self._stopping = False
        self._qmp_port = 0
        #: Done while no core file is copied out of the lab.
        self.copied: Future[None] = _done()
        self._name = f"/run/lab/stub.{secrets.token_hex(8)}"
        request.forward.check()
        with ExitStack() as stack:
            record = stack.enter_context(_open_record(request.record)) if request.record else None
            self._lab = stack.enter_context(open_lab(request.options))
            memory = request.memory or (request.options or Options()).memory_mib << 20
            self._core_files = CoreFiles(self._lab, request.vmcore, memory)
            request.prepare(self._lab)
            self._process = self._start(stack)
            if record:
                reader = self._lab.popen(
                    ["cat", f"{self._name}.record"],
                    stdin=subprocess.DEVNULL,
                    stdout=record,
                    new_session=True,  # a terminal's Ctrl-C must not cost the record its end
                )
                stack.callback(finish, reader)
            stack.callback(self._end)
            self._messages = threading.Thread(target=self._pass_messages, daemon=True)
            self._messages.start()
            self._stack = stack.pop_all()

    def _start(self, stack: ExitStack) -> subprocess.Popen[bytes]:
        # All in one connection: each takes a third of a second.
        setup, argv = ["set -e"], list[str]()
        for item in self._request.argv:
            if isinstance(item, Path):
                offered = offer(self._lab.directory, item)
                stack.callback(offered.link.unlink)
                setup.append(shlex.join(offered.command))
                argv.append(offered.target)
            else:
                argv.append(item)
        setup.append(f"echo $$ >{self._name}.pid")
        if self._request.record:
            fifo = f"{self._name}.record"
            self._lab.run(["mkfifo", fifo])
            argv += ["--record", fifo]
            # Held open from here, the pipe ends when the command does, used or not.
            setup.append(f"exec 3>{fifo}")
        command = ["sh", "-c", "; ".join([*setup, 'exec "$@"']), "sh", *self._request.command]
        stdin, stdout = self._request.stdin, self._request.stdout
        if isinstance(self._request.forward, StdioForward):  # the client uses this process's own
            stdin = subprocess.DEVNULL
            stdout = sys.stderr.fileno() if stdout is None else stdout
        return self._lab.popen(
            [*command, "--gdb", f"{ADDRESS}:0", *argv, *self._request.rest(self._lab)],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            # Ctrl-C is for this process, which then ends the command in good order.
            new_session=True,
        )

    def _pass_messages(self) -> None:
        """Copy the command's stderr, except for the lines that are for this process.

        The lab may be a guest's by now: no line is longer than memory, or controls a terminal.
        """
        assert self._process.stderr
        heard = False
        for line in iter(partial(self._process.stderr.readline, _LONGEST), b""):
            if not heard and (match := LISTENING.fullmatch(line)):
                heard = True
                self._open_forward(int(match[2]))
            elif match := QMP.fullmatch(line):
                self._qmp_port = int(match[1])
            elif match := HANDED_OUT.fullmatch(line):
                self.copied = Future()
                try:
                    self._core_files.take(match[1].decode(), match[2].decode())
                finally:
                    self.copied.set_result(None)
            elif not SSH_SAYS.fullmatch(line):
                text = line.decode(errors="backslashreplace").rstrip("\r\n").expandtabs()
                print(printable(text), file=sys.stderr, flush=True)

    def _open_forward(self, port: int) -> None:
        try:
            address, local_port = self._request.forward.open(self._lab, port)
        except LabError as error:
            self._failure = error
            self.stop()
        else:
            if isinstance(self._request.forward, StdioForward):
                threading.Thread(target=self._stop_after, args=[self._request.forward]).start()
            self._on_listening(address, local_port)

    def _stop_after(self, forward: StdioForward) -> None:
        """Stop the command when the client has closed its streams, the only connection."""
        forward.wait()
        self.stop()

    @contextmanager
    def qmp_forward(self, path: Path) -> Iterator[None]:
        """Forward the Unix socket *path* to the QMP of the command, once it listens.

        Raises:
            LabError: the forward cannot be opened.
        """
        with closing(UnixForward(path)) as forward:
            forward.open(self._lab, self._qmp_port)
            yield

    @property
    def status(self) -> int | None:
        """Exit status of the command; None while it runs."""
        return self._process.returncode

    @property
    def core_bytes(self) -> int:
        """Bytes of core files that have been written so far."""
        return self._core_files.copied

    @property
    def lab_running(self) -> bool:
        """True while the emulator of the lab runs."""
        return self._lab.running

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the command's end; return its exit status.

        Raises:
            subprocess.TimeoutExpired: it runs for longer than *timeout*, in seconds.
            LabError: the port forward could not be opened, or the lab has ended.
        """
        status = self._process.wait(timeout)
        self._messages.join()
        if self._failure:
            raise self._failure
        if not self._stopping:
            self._explain(status)
        return status

    def _explain(self, status: int) -> None:
        """Say which part has ended, unless the command ended by itself, which says why.

        Raises:
            LabError: the lab or the connection to it has ended.
        """
        if status < 0:
            name = signal.Signals(-status).name
            raise LabError(f"{CUT}: its ssh was killed by {name}")
        if status == SSH_FAILED and self._lab_ends():
            raise LabError(f"{ENDED}: was it killed?")
        if status == SSH_FAILED:
            raise LabError(f"{CUT}, and the stub in it was ended")
        with suppress(ValueError):
            name = signal.Signals(status - 128).name
            note(f"{KILLED} {name}")

    def _lab_ends(self) -> bool:
        """Return True if the emulator has ended. A killed one takes a moment to give up its RAM."""
        deadline = time.monotonic() + _DYING_SECONDS
        while self._lab.running:
            if time.monotonic() > deadline:
                return False
            time.sleep(_DYING_SECONDS / 40)
        return True

    def stop(self) -> None:
        """Send SIGTERM to the command; ``wait`` then returns its status. Idempotent."""
        self._stopping = True
        if self._process.poll() is None:
            try:
                file = f"{self._name}.pid"
                line = f"test -e {file} || exit {NOT_BEGUN}; kill $(cat {file})"
                self._lab.run(["sh", "-c", line], timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                note(f"the lab does not answer in {STOP_SECONDS:g} s: what runs there is given up")
                self._process.kill()
            except LabError:
                self._process.kill()  # its caller knows more
            except subprocess.CalledProcessError as error:
                if error.returncode == NOT_BEGUN:  # else it has ended by itself
                    self._process.kill()
            except subprocess.SubprocessError:
                pass

    def close(self) -> None:
        """End the command, the forward, the recording, and the lab if this object booted it."""
        self._stack.close()

    def _end(self) -> None:
        self._core_files.cut_short()
        try:
            self.stop()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()  # and the lab kills the command
                self._process.wait()
        finally:
            with suppress(LabError):
                self._request.forward.close()
            if self._process.stderr:
                self._messages.join()
                self._process.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _done() -> Future[None]:
    future = Future[None]()
    future.set_result(None)
    return future


def _open_record(path: Path) -> BinaryIO:
    """Open the file of ``--record``.

    Raises:
        InputError: it cannot be opened.
    """
    try:
        return open(open_log(str(path)), "wb", buffering=0)
    except OSError as error:
        raise InputError(f"--record {path}: {error.strerror}") from None


def finish(reader: subprocess.Popen[bytes]) -> None:
    """Wait for *reader* to copy the rest of its pipe, which has ended; kill it if that hangs."""
    try:
        reader.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        reader.kill()
        reader.wait()
