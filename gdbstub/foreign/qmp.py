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
from typing import IO, Final

from gdbstub.foreign.memory import MemorySlot

_TIMEOUT: Final = 2.0
_RANGE: Final = re.compile(
    r"^\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio \d+, ram\): (?P<name>\S+)(?P<rest>.*)$",
    re.MULTILINE,
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
    """Ask QEMU at *path* for the RAM of its guest; empty if it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(path))
            with connection.makefile("rw", encoding="utf-8") as stream:
                stream.readline()  # the greeting
                _execute(stream, "qmp_capabilities", {})

                def ask(line: str) -> str:
                    return _execute(stream, "human-monitor-command", {"command-line": line})

                found = []
                for ipa, size in ram_ranges(ask("info mtree -f")):
                    if match := _HVA.search(ask(f"gpa2hva {ipa:#x}")):
                        found.append(MemorySlot(ipa, size, int(match[1], 16)))
                return found
    except (OSError, ValueError, KeyError):
        return []


def _execute(stream: IO[str], command: str, arguments: Mapping[str, str]) -> str:
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
    while True:
        reply = json.loads(stream.readline())  # events come between
        if "return" in reply:
            return str(reply["return"])
        if "error" in reply:
            raise ValueError(reply["error"])


def ram_ranges(listing: str) -> list[tuple[int, int]]:
    """Parse ``info mtree -f``: physical address and size of each range of writable RAM."""
    root = _KVM_ROOT.search(listing)
    if root is None:
        return []
    view = listing[root.end() :].split("FlatView #")[0]
    return [
        (int(match[1], 16), int(match[2], 16) - int(match[1], 16) + 1)
        for match in _RANGE.finditer(view)
    ]
