"""``gdbstub run`` inside the lab, with the streams and the exit status of a local run.

It depends on three things of the inner command, and nothing of guests: a line on stderr with the
address that it listens on, its end by SIGTERM, and its exit status.
"""

import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from gdbstub.errors import LabError
from gdbstub.lab.host import Lab, Stream
from gdbstub.lab.port_forwards import PortForward, StdioForward
from gdbstub.lab.qemu import ADDRESS, Options

LISTENING: Final = re.compile(rb"gdbstub: listening on (\S+):(\d+)\s*")
STOP_SECONDS: Final = 10.0
"""Time that the inner command has to end after SIGTERM; then it is killed."""

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
        """Boot or join a lab and start the command there (about 7 s).

        *on_listening* is called once, on another thread, with the address as a user writes it
        (``localhost:1234``) and the TCP port, or 0.

        Raises:
            LabError: the lab cannot be used; an endpoint or record file that cannot be used is
                reported before a lab is booted.
        """
        self._request = request
        self._on_listening = on_listening
        self._failure: LabError | None = None
        self._name = f"/run/lab/stub.{secrets.token_hex(8)}"
        request.forward.check()
        with ExitStack() as stack:
            record = stack.enter_context(open_record(request.record)) if request.record else None
            self._lab = stack.enter_context(Lab.open(request.options))
            request.prepare(self._lab)
            self._process = self._start()
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

    def _start(self) -> subprocess.Popen[bytes]:
        argv = [
            self._lab.put(item) if isinstance(item, Path) else item for item in self._request.argv
        ]
        setup = f"echo $$ >{self._name}.pid"
        if self._request.record:
            fifo = f"{self._name}.record"
            self._lab.run(["mkfifo", fifo])
            argv += ["--record", fifo]
            # Held open from here, the pipe ends when the command does, used or not.
            setup += f"; exec 3>{fifo}"
        command = ["sh", "-c", f'{setup}; exec "$@"', "sh", *self._request.command]
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
        """Copy the command's stderr, except for the line with the address it listens on."""
        assert self._process.stderr
        heard = False
        for line in self._process.stderr:
            if not heard and (match := LISTENING.fullmatch(line)):
                heard = True
                self._open_forward(int(match[2]))
            else:
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()

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

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the command's end; return its exit status.

        Raises:
            subprocess.TimeoutExpired: it runs for longer than *timeout*, in seconds.
            LabError: the port forward could not be opened.
        """
        status = self._process.wait(timeout)
        self._messages.join()
        if self._failure:
            raise self._failure
        return status

    def stop(self) -> None:
        """Send SIGTERM to the command; ``wait`` then returns its status. Idempotent."""
        if self._process.poll() is None:
            with suppress(subprocess.SubprocessError):
                self._lab.run(["sh", "-c", f"kill $(cat {self._name}.pid)"], timeout=STOP_SECONDS)

    def close(self) -> None:
        """End the command, the forward, the recording, and the lab if this object booted it."""
        self._stack.close()

    def _end(self) -> None:
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_record(path: Path) -> BinaryIO:
    """Open the file of ``--record``.

    Raises:
        LabError: it cannot be opened.
    """
    try:
        return path.open("wb", buffering=0)
    except OSError as error:
        raise LabError(f"--record {path}: {error.strerror}") from None


def finish(reader: subprocess.Popen[bytes]) -> None:
    """Wait for *reader* to copy the rest of its pipe, which has ended; kill it if that hangs."""
    try:
        reader.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        reader.kill()
        reader.wait()
