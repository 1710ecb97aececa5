"""GDB of a test: commands by the machine interface, GDB/MI, which pygdbmi parses.

Source: GDB manual, chapter "The GDB/MI Interface".
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Final, cast

from gdbstub.errors import GdbError, InputError, installation

if TYPE_CHECKING:
    from pygdbmi.gdbcontroller import GdbController

    from gdbstub.pytest_plugin.guest import Guest

#: Names of GDBs that know AArch64, by preference; the last one may.
PROGRAMS: Final = ("gdb-multiarch", "aarch64-linux-gnu-gdb", "gdb")

#: Longest wait for records at once, after which GDB's end is noticed.
_POLL_SECONDS: Final = 0.5
#: Shortest wait that pygdbmi has for more records after the first; its own is 0.2 s a command.
_MORE_SECONDS: Final = 0.001
_ATTACH_SECONDS: Final = 60.0

_SETTINGS: Final = (
    *("confirm off", "width 0", "height 0", "style enabled off", "mi-async on"),
    "debuginfod enabled off",
    # Seconds that a reply may take: after 2 of them GDB takes a late one for the next packet's.
    "remotetimeout 30",
)

#: Record of GDB/MI, as pygdbmi gives it: ``type``, ``message``, ``payload``, ``token``.
Record = Mapping[str, object]
#: Results of a record, by name.
Payload = Mapping[str, object]


class Gdb:
    """GDB that is attached to a guest."""

    def __init__(self, controller: "GdbController", timeout: float) -> None:
        """Use the GDB of *controller*; a command may take *timeout* seconds."""
        #: pygdbmi's own object, for what is not here.
        self.controller = controller
        self._timeout = timeout
        self._tokens = count(1)
        self._running = False
        self._stop: Payload | None = None
        self._text: list[str] = []
        self._result: Record | None = None

    @property
    def running(self) -> bool:
        """True while the guest runs, as far as GDB has said."""
        return self._running

    def mi(self, command: str, timeout: float | None = None) -> Payload:
        """Give an MI command, ``-data-list-register-names`` for one; return its results.

        Raises:
            GdbError: it is more than one line, or GDB answers with an error, does not answer, or
                has ended.
        """
        _check_line(command)
        return self._ask(command, command, timeout)

    def execute(self, command: str, timeout: float | None = None) -> str:
        """Give a command as a person types it; return the text that GDB shows.

        A command that resumes the guest, ``continue`` for one, ends at its next stop.

        Raises:
            GdbError: it is more than one line, or GDB answers with an error, the guest does not
                stop, or GDB has ended.
        """
        _check_line(command)
        self._ask(f"-interpreter-exec console {_quoted(command)}", command, timeout)
        if self._running:
            self._read_until(lambda: not self._running, command, timeout)
        return "".join(self._text)

    def evaluate(self, expression: str) -> str:
        """Return the value of *expression* as GDB writes it.

        Raises:
            GdbError: it is more than one line, or cannot be evaluated.
        """
        _check_line(expression)
        return str(self.mi(f"-data-evaluate-expression {_quoted(expression)}")["value"])

    def resume(self) -> None:
        """Let the guest run, and return; ``wait_for_stop`` or ``interrupt`` comes later."""
        self.mi("-exec-continue")

    def wait_for_stop(self, timeout: float | None = None) -> Payload:
        """Wait until the guest stops; return ``reason``, ``frame`` and more of ``*stopped``.

        Raises:
            GdbError: it does not stop, or GDB has ended.
        """
        self._read_until(lambda: not self._running, "a stop of the guest", timeout)
        return self._stop or {}

    def interrupt(self) -> Payload:
        """Halt a guest that runs, as Ctrl-C does; return what ``wait_for_stop`` does."""
        if self._running:
            self.mi("-exec-interrupt --all")
        return self.wait_for_stop()

    def reset(self) -> None:
        """Restart the guest, halted at its first instruction, as ``monitor reset`` does."""
        self.interrupt()
        self.execute("monitor reset")
        self.execute("maintenance flush register-cache")

    def _ask(self, command: str, shown: str, timeout: float | None) -> Payload:
        """Give an MI command, which messages call *shown*; return its results.

        Raises:
            GdbError: as of ``mi``.
        """
        token = next(self._tokens)
        self._text, self._result = [], None
        with suppress(BrokenPipeError):  # its end is found below
            self.controller.write(f"{token}{command}", read_response=False)
        self._read_until(lambda: self._answers(token), shown, timeout)
        assert self._result is not None
        payload = _payload(self._result)
        if self._result["message"] == "error":
            raise GdbError(f"gdb: {shown}: {payload.get('msg', 'an error without a text')}")
        return payload

    def _answers(self, token: int) -> bool:
        return self._result is not None and self._result.get("token") == token

    def _read_until(self, done: Callable[[], bool], what: str, timeout: float | None) -> None:
        """Read records until *done*.

        Raises:
            GdbError: that takes longer than *timeout*, or GDB has ended.
        """
        seconds = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise GdbError(f"gdb: {what}: nothing within {seconds:g} s")
            records = self.controller.get_gdb_response(
                min(left, _POLL_SECONDS), raise_error_on_timeout=False
            )
            for record in cast("list[Record]", records):
                self._take(record)
            process = self.controller.gdb_process
            if not records and (process is None or process.poll() is not None):
                raise GdbError(f"gdb: {what}: gdb has ended")

    def _take(self, record: Record) -> None:
        match record["type"], record["message"]:
            case "result", _:
                self._result = record
                if record["message"] == "running":
                    self._running, self._stop = True, None
            case "notify", "running":
                self._running, self._stop = True, None
            case "notify", "stopped":
                self._running = False
                self._stop = _payload(record)
            case (("console" | "target" | "log"), _):
                self._text.append(str(record["payload"]))


def _payload(record: Record) -> Payload:
    return cast("Payload", record["payload"]) if isinstance(record["payload"], dict) else {}


def _check_line(text: str) -> None:
    """Check that *text* is one line: GDB would take the rest for another command.

    Raises:
        GdbError: it is not.
    """
    if any(character in text for character in "\n\r\0"):
        raise GdbError(f"gdb: {text!r}: expected one line without a NUL; give each line by itself")


def _quoted(text: str) -> str:
    """Return *text* as a C string of GDB/MI."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def find_program(named: str) -> str:
    """Return the path of GDB: *named*, else the first of ``PROGRAMS`` on the path.

    Raises:
        InputError: there is none.
    """
    for name in [named] if named else PROGRAMS:
        if found := shutil.which(name):
            return found
    if named:
        raise InputError(f"gdbstub_gdb = {named}: no such program; expected a GDB for AArch64")
    raise InputError(
        f"none of {', '.join(PROGRAMS)} is on the path: {installation('gdb-multiarch')}"
    )


@contextmanager
def start(program: str, timeout: float) -> Iterator[Gdb]:
    """Start GDB without a guest; *program* is as of ``find_program``.

    Raises:
        InputError: there is no GDB, or no pygdbmi.
        GdbError: GDB does not answer.
    """
    try:
        from pygdbmi.gdbcontroller import GdbController
    except ImportError:
        raise InputError("pygdbmi is not installed: pip install 'kvm-gdbstub[pytest]'") from None
    command = [find_program(program), "--nx", "--quiet", "--interpreter=mi3"]
    controller = GdbController(command, _MORE_SECONDS)
    try:
        gdb = Gdb(controller, timeout)
        for setting in _SETTINGS:
            with suppress(GdbError):  # one that this GDB does not have
                gdb.mi(f"-gdb-set {setting}")
        yield gdb
    finally:
        controller.exit()
        streams = controller.io_manager
        for stream in (streams.stdin, streams.stdout, streams.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def attach(guest: "Guest", program: str) -> Iterator[Gdb]:
    """Attach GDB to *guest*, which is then halted; disconnect at the end.

    A guest that is halted then stays halted, without breakpoints; one that runs goes on.

    Raises:
        InputError: there is no GDB, or no pygdbmi.
        GdbError: GDB cannot attach.
    """
    with start(program, guest.settings.timeout) as gdb:
        if symbols := guest.symbols:
            # GDB reports of a file that is no ELF, a Linux Image, that it is not recognised.
            with suppress(GdbError):
                gdb.mi(f"-file-exec-and-symbols {_quoted(str(symbols))}")
        gdb.mi(f"-target-select remote {guest.remote}", _ATTACH_SECONDS)
        yield gdb
        with suppress(GdbError):  # the guest or GDB may have ended
            gdb.mi("-target-disconnect")
