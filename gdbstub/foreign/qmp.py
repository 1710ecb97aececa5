"""The RAM of a QEMU guest, as QEMU's own monitor says: by a QMP socket on its command line.

QEMU serves one client at a time on a socket. One that another program uses gives no greeting, and
is left alone. Source: qemu/docs/interop/qmp-spec.rst, ``info mtree -f`` and ``gpa2hva``.
"""

import itertools
import json
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from gdbstub.foreign.memory import MemorySlot

#: Time for all that is asked, in seconds.
_SECONDS: Final = 5.0
#: Length of the longest line that is taken, in bytes.
_LONGEST: Final = 4 << 20
_PIECE: Final = 1 << 16
_RANGE: Final = re.compile(
    r"^\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (ram|rom|romd)\): ", re.MULTILINE
)
_HVA: Final = re.compile(r" is (0x[0-9a-f]+)")
_KVM_ROOT: Final = re.compile(r"^\s*Root memory region: system\r?$", re.MULTILINE)


def sockets(arguments: Sequence[str]) -> list[str]:
    """Return the paths of QMP sockets on QEMU's command line, as QEMU has them."""
    found: list[str] = []
    chardevs: dict[str, str] = {}
    for option, value in itertools.pairwise(arguments):
        fields = dict(part.partition("=")[::2] for part in value.split(","))
        match option.removeprefix("-").removeprefix("-"):
            case "qmp" | "qmp-pretty" if value.startswith("unix:"):
                found.append(value.removeprefix("unix:").split(",")[0])
            case "chardev" if value.startswith("socket") and "path" in fields:
                chardevs[fields.get("id", "")] = fields["path"]
            case "mon" if fields.get("mode") == "control":
                name = fields.get("chardev") or value.split(",")[0]
                found.append(chardevs.get(name, ""))
    return [path for path in found if path]


def slots(path: Path) -> list[MemorySlot]:
    """Ask QEMU at *path* for the RAM of its guest; empty if it does not answer, or not as QEMU."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            monitor = QmpClient(connection, path, _SECONDS)

            def ask(line: str) -> str:
                return str(monitor.execute("human-monitor-command", {"command-line": line}))

            found = []
            for ipa, size, rom in ranges(ask("info mtree -f")):
                if match := _HVA.search(ask(f"gpa2hva {ipa:#x}")):
                    found.append(MemorySlot(ipa, size, int(match[1], 16), rom))
            return found
    except (OSError, ValueError, RecursionError):
        return []


class QmpClient:
    """Client of a server of QMP that may be anybody's: replies are bounded in time and length.

    Its methods raise OSError if the server has not answered in time, or is gone, and ValueError or
    RecursionError if it has answered with something else, or with an error.
    """

    def __init__(self, connection: socket.socket, path: Path, seconds: float) -> None:
        """Connect to *path*; what follows takes *seconds* at most, until ``within``."""
        self._connection = connection
        self._received = bytearray()
        self.within(seconds)
        self._wait()
        connection.connect(str(path))
        self._read()  # the greeting
        self.execute("qmp_capabilities", {})

    def within(self, seconds: float) -> None:
        """Give what follows *seconds* from now on."""
        self._until = monotonic() + seconds

    def execute(self, command: str, arguments: Mapping[str, object]) -> object:
        """Execute a command; return its result."""
        self.send(command, arguments)
        return self.receive()

    def send(self, command: str, arguments: Mapping[str, object]) -> None:
        """Have a command executed."""
        asked = {"execute": command, "arguments": arguments}
        self._connection.sendall(json.dumps(asked).encode() + b"\n")

    def receive(self) -> object:
        """Return the result of a command that was sent."""
        while True:
            reply = self._read()  # events come between
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise QmpErrorReply(reply["error"])

    def _read(self) -> dict[str, object]:
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > _LONGEST:
                raise ValueError("a line of QMP is too long")
            self._wait()
            if not (data := self._connection.recv(_PIECE)):
                raise ConnectionError("it has closed the connection")
            self._received += data
        self._wait()  # also for events without end
        reply = json.loads(self._received[:end])
        del self._received[: end + 1]
        if not isinstance(reply, dict):
            raise ValueError("a line of QMP is no object")
        return reply

    def _wait(self) -> None:
        if (left := self._until - monotonic()) <= 0:
            raise TimeoutError("it has not answered in time")
        self._connection.settimeout(left)


class QmpErrorReply(ValueError):
    """Error that a server of QMP has answered with; ``description`` is its own text."""

    @property
    def description(self) -> str:
        """Text of the error; empty if there is none."""
        (error,) = self.args
        return str(error.get("desc", "")) if isinstance(error, dict) else ""


def ranges(listing: str) -> list[tuple[int, int, bool]]:
    """Parse ``info mtree -f``: address and size of each range of memory, and True for ROM."""
    root = _KVM_ROOT.search(listing)
    if root is None:
        return []
    view = listing[root.end() :].split("FlatView #")[0]
    return [
        (int(match[1], 16), int(match[2], 16) - int(match[1], 16) + 1, match[3] != "ram")
        for match in _RANGE.finditer(view)
    ]
