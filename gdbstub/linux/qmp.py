"""QMP, the protocol of QEMU's monitor, as far as drgn and tools like it read a guest by it.

Bytes of one client in, replies out; no I/O but the one note that is written to a client's file.
Nothing here changes the guest or stops it. Source: qemu/docs/interop/qmp-spec.rst, qapi/*.json.
"""

import base64
import json
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Final, Protocol

from gdbstub import __version__
from gdbstub.errors import InputError, MemoryFault, NotFound, QmpError, StubError
from gdbstub.linux.hmp import MOST, parse_format, show_memory, show_ram
from gdbstub.linux.vmcore import vmcoreinfo_file
from gdbstub.numbers import parse_number
from gdbstub.slices import TooMuchWork, in_slices

#: Longest command, in bytes.
_LONGEST: Final = 64 << 10
#: Number of files that a client may leave here at a time.
_FILES: Final = 4
_VERSION: Final = [int(part) for part in __version__.split(".")[:3] if part.isdigit()]
_GREETING: Final = {
    "QMP": {
        "version": {
            "qemu": dict(zip(("major", "minor", "micro"), (*_VERSION, 0, 0, 0), strict=False)),
            "package": f"kvm-gdbstub {__version__}",
        },
        "capabilities": [],
    }
}


class QmpGuest(Protocol):
    """The guest that is read, also while it runs."""

    @property
    def ram(self) -> Sequence[range]:
        """Physical addresses of RAM.

        Raises:
            MachineError: the machine does not say.
        """
        ...

    @property
    def running(self) -> bool:
        """True while the guest runs."""
        ...

    def read(self, ipa: int, length: int) -> bytes:
        """Read RAM, short at its end.

        Raises:
            MemoryFault: no RAM at *ipa*.
        """
        ...

    def hva(self, ipa: int) -> int | None:
        """Return where this process has *ipa*; None if it has it nowhere."""
        ...

    def vmcoreinfo(self) -> bytes:
        """Return the text of the kernel's VMCOREINFO.

        Raises:
            NotFound: it is not in RAM.
        """
        ...


Arguments = Mapping[str, object]
Handler = Callable[["QmpSession", Arguments], object]
_COMMANDS: Final[dict[str, Handler]] = {}
#: Names of those that are carried out in slices.
_LONG: Final[set[str]] = set()


def _command(name: str, *, long: bool = False) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        _COMMANDS[name] = handler
        if long:
            _LONG.add(name)
        return handler

    return register


class QmpSession:
    """One client's commands, one line each."""

    def __init__(self, guest: QmpGuest) -> None:
        """Begin before the negotiation of capabilities."""
        self.guest = guest
        #: True when the client is to be disconnected: it does not speak QMP.
        self.over = False
        #: True after ``qmp_capabilities``: the client speaks QMP.
        self.negotiated = False
        self._received = bytearray()
        self._sent: deque[int] = deque()
        self._named: dict[str, int] = {}
        self._work: Generator[None, None, bytes] | None = None

    @property
    def greeting(self) -> bytes:
        """The line that a client gets first."""
        return _line(_GREETING)

    def receive(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Take bytes and descriptors from the client; the session closes the descriptors."""
        self._received += data
        for fd in fds:
            self._sent.append(fd)
        while len(self._sent) > _FILES:
            os.close(self._sent.popleft())
        if len(self._received) > 2 * _LONGEST:
            self.over = True

    @property
    def full(self) -> bool:
        """True while no more bytes should be received."""
        return len(self._received) >= _LONGEST

    @property
    def busy(self) -> bool:
        """True while a command is being executed: ``advance`` is to be called, in another turn."""
        return self._work is not None

    def advance(self) -> bytes | None:
        """Execute the next command, or a slice of it; return the reply when it is done."""
        if self._work is None and not self.over and (line := self._next()):
            self._work = self._execute(line)
        if self._work is None:
            return None
        try:
            next(self._work)
        except StopIteration as done:
            self._work = None
            reply: bytes = done.value
            return reply
        return None

    def _next(self) -> bytes | None:
        """Return the next command; None if no whole one is there."""
        while not self.over:
            end = self._received.find(b"\n")
            if end < 0 or end > _LONGEST:
                self.over = self.full  # as it stays, for no more is received
                return None
            line = bytes(self._received[:end]).strip()
            del self._received[: end + 1]
            if line:
                return line
        return None

    def close(self) -> None:
        """Cancel what is being executed, and close all descriptors of the client."""
        if self._work is not None:
            self._work.close()
        for fd in (*self._sent, *self._named.values()):
            os.close(fd)
        self._sent.clear()
        self._named.clear()

    def _execute(self, line: bytes) -> Generator[None, None, bytes]:
        reply: dict[str, object] = {}
        try:
            asked = json.loads(line, parse_constant=_no_number)
            if not isinstance(asked, dict):
                self.over = not self.negotiated
                raise QmpError("QMP input must be a JSON object")
            if "id" in asked:
                reply["id"] = asked["id"]
            reply["return"] = yield from self._call(
                asked.get("execute"), asked.get("arguments", {})
            )
        except QmpError as error:
            reply["error"] = {"class": error.kind, "desc": str(error)}
        except (ValueError, RecursionError):
            # A request of HTTP may have commands in its body.
            self.over = not self.negotiated
            reply["error"] = {"class": "GenericError", "desc": "JSON parse error"}
        except StubError as error:
            reply["error"] = {"class": "GenericError", "desc": str(error)}
        except OSError as error:
            reply["error"] = {"class": "GenericError", "desc": error.strerror or str(error)}
        try:
            return _line(reply)
        except (ValueError, RecursionError):  # of an id
            return _line({"error": {"class": "GenericError", "desc": "the id cannot be returned"}})

    def _call(self, name: object, arguments: object) -> Generator[None, None, object]:
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise QmpError("QMP input lacks a member 'execute' with a command's name")
        if not self.negotiated and name != "qmp_capabilities":
            raise QmpError(
                "Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound"
            )
        if (handler := _COMMANDS.get(name)) is None:
            raise QmpError(
                f"The command {name[:80]} has not been found; those here only read the guest: "
                f"{', '.join(sorted(_COMMANDS))}",
                "CommandNotFound",
            )
        if name in _LONG:
            return (yield from in_slices(lambda: handler(self, arguments)))
        return handler(self, arguments)

    @_command("qmp_capabilities")
    def _negotiate(self, arguments: Arguments) -> object:
        self.negotiated = True
        return {}

    @_command("query-target")
    def _target(self, arguments: Arguments) -> object:
        return {"arch": "aarch64"}

    @_command("query-version")
    def _version(self, arguments: Arguments) -> object:
        return _GREETING["QMP"]["version"]

    @_command("query-commands")
    def _names(self, arguments: Arguments) -> object:
        return [{"name": name} for name in sorted(_COMMANDS)]

    @_command("query-status")
    def _status(self, arguments: Arguments) -> object:
        running = self.guest.running
        return {"running": running, "status": "running" if running else "paused"}

    @_command("human-monitor-command")
    def _human(self, arguments: Arguments) -> object:
        line = arguments.get("command-line")
        if not isinstance(line, str):
            raise QmpError("Parameter 'command-line' is missing")
        match line.split():
            case ["xp", place]:
                return self._xp(None, place)
            case ["xp", wanted, place]:
                return self._xp(wanted, place)
            case ["info", "mtree"] | ["info", "mtree", "-f"]:
                return show_ram(self.guest.ram)
            case ["info", "version"]:
                return f"kvm-gdbstub {__version__}\n"
            case ["info", "status"]:
                return f"VM status: {'running' if self.guest.running else 'paused'}\n"
            case ["gpa2hva", place]:
                return self._gpa2hva(_number(place))
            case words:
                return f"unknown command: '{' '.join(words)[:80]}'\n"

    def _xp(self, fmt: str | None, place: str) -> str:
        try:
            wanted, ipa = parse_format(fmt), _number(place)
        except InputError as error:
            return f"{error}\n"
        try:
            data = self.guest.read(ipa, wanted.length) if wanted.length else b""
        except MemoryFault:
            data = b""
        said = show_memory(ipa, data, wanted)
        if len(data) < wanted.length:
            said += f"{ipa + len(data):016x}: Cannot access memory\n"
        return said

    def _gpa2hva(self, ipa: int) -> str:
        if not any(ipa in each for each in self.guest.ram):
            return f"No memory is mapped at address 0x{ipa:x}\n"
        if (hva := self.guest.hva(ipa)) is None:
            return "the guest's memory is not in this process\n"
        return f"Host virtual address for 0x{ipa:x} (ram) is {hva:#x}\n"

    # Files of the client.

    @_command("getfd")
    def _take_file(self, arguments: Arguments) -> object:
        name = arguments.get("fdname")
        if not isinstance(name, str) or not name or name[0].isdigit():
            raise QmpError("Parameter 'fdname' expects a name not starting with a digit")
        if not self._sent:
            raise QmpError("No file descriptor supplied via SCM_RIGHTS")
        fd = self._sent.popleft()
        if (old := self._named.pop(name, None)) is not None:
            os.close(old)
        if len(self._named) >= _FILES:
            os.close(fd)
            raise QmpError(f"at most {_FILES} files are kept; closefd closes one")
        self._named[name] = fd
        return {}

    @_command("closefd")
    def _close_file(self, arguments: Arguments) -> object:
        os.close(self._file(arguments.get("fdname")))
        return {}

    def _file(self, name: object) -> int:
        fd = self._named.pop(name, None) if isinstance(name, str) else None
        if fd is None:
            raise QmpError("File descriptor named so has not been found")
        return fd

    @_command("dump-guest-memory", long=True)
    def _dump(self, arguments: Arguments) -> object:
        """Write the note VMCOREINFO, as the dump of a range has it, to a file of the client."""
        if arguments.get("paging") or "begin" not in arguments or "length" not in arguments:
            raise QmpError(
                "only the notes are dumped: expected paging false, begin and length; gdb's "
                "'monitor vmcore' writes whole core files"
            )
        protocol = arguments.get("protocol")
        if not isinstance(protocol, str) or not protocol.startswith("fd:"):
            raise QmpError("Parameter 'protocol' expects fd: and a name of getfd")
        fd = self._file(protocol.removeprefix("fd:"))
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise QmpError("the file is no regular one; another kind could block")
            try:
                text = self.guest.vmcoreinfo()
            except TooMuchWork:
                raise
            except NotFound:
                text = b""
            data = vmcoreinfo_file(text)
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        return {}

    # Ours, by which a QMP server outside a lab reads the guest inside.

    @_command("x-read-memory")
    def _read(self, arguments: Arguments) -> object:
        begin, length = arguments.get("begin"), arguments.get("length")
        if not isinstance(begin, int) or not isinstance(length, int) or not 0 < length <= MOST:
            raise QmpError(f"expected begin, and a length of 1 to {MOST}")
        return base64.b64encode(self.guest.read(begin, length)).decode()

    @_command("x-ram")
    def _ram(self, arguments: Arguments) -> object:
        return [[each.start, each.stop] for each in self.guest.ram]

    @_command("x-vmcoreinfo", long=True)
    def _vmcoreinfo(self, arguments: Arguments) -> object:
        return self.guest.vmcoreinfo().decode("latin-1")


def _number(text: str) -> int:
    if (value := parse_number(text)) is None:
        raise InputError(f"{text[:80]!r} is no address: expected 0x and hex digits")
    return value


def _no_number(text: str) -> None:
    """Refuse what Python's parser takes for a number, and JSON does not: NaN and infinities.

    Raises:
        ValueError: always.
    """
    raise ValueError(text)


def _line(reply: object) -> bytes:
    return json.dumps(reply, allow_nan=False).encode() + b"\r\n"
