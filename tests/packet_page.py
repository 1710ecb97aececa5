"""Generate docs/packets.md from the registered packets: ``make docs``."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gdbstub.protocol.packets import PACKETS, find
from gdbstub.protocol.packets.registry import PacketDefinition
from tests.pure.sessions import SESSIONS

PAGE: Final = Path(__file__).parents[1] / "docs" / "packets.md"

_HEAD: Final = """\
# Packets

Every packet that the stub answers, made by `make docs` from the table that it answers by. Whatever
is not here gets the empty reply, which says: not supported.

*Arguments* are in the notation of the GDB manual, `[` and `]` round what may be absent. *Feature*
is what `qSupported` says because the packet is there, on a target that has what the packet is
about. *Handler* is its function, after the name of the module in `gdbstub/protocol/packets`.
*Seen from* names the clients in whose recorded sessions (`tests/pure/sessions`) it was met; the
others are tested packet by packet.

| packet | arguments | what it does | feature | handler | seen from |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    clients = _clients()
    rows = sorted(PACKETS.values(), key=lambda row: (row.name.lower(), row.name))
    return _HEAD + "".join(_row(row, clients.get(row.name, [])) for row in rows)


def _clients() -> dict[bytes, list[str]]:
    """Return the clients that sent each packet, as ``gdb-13``, in order."""
    met: dict[bytes, list[str]] = {}
    for session in sorted(SESSIONS, key=lambda path: _version(path.stem)):
        client = "-".join(session.stem.split("-")[:2])
        lines = re.findall(r"^<- \$(.*)$", session.read_text(), re.MULTILINE)
        rows = {row.name for line in lines if (row := find(line.encode()))}
        for name in rows:
            if client not in (names := met.setdefault(name, [])):
                names.append(client)
    return met


def _version(client: str) -> tuple[str, int]:
    name, version, *_ = client.split("-")
    return name, int(version)


def _row(row: PacketDefinition, clients: list[str]) -> str:
    first = (row.handler.__doc__ or "").partition("\n")[0]
    cells = (
        _code(row.name.decode()),
        _code(row.template.text),
        first.partition(": ")[2].removesuffix(".").replace("``", "`"),
        _code(row.feature.decode()),
        _code(f"{row.handler.__module__.rpartition('.')[2]}.{row.handler.__name__}"),
        _seen(clients),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _seen(clients: list[str]) -> str:
    """``GDB 13 16-18, LLDB 14``: versions in order, and three or more in a row as one range."""
    versions: dict[str, list[int]] = {}
    for client in clients:
        name, version = client.split("-")
        versions.setdefault(name.upper(), []).append(int(version))
    return ", ".join(f"{name} {' '.join(_ranges(each))}" for name, each in versions.items())


def _ranges(numbers: list[int]) -> Iterator[str]:
    while numbers:
        length = next((n for n, each in enumerate(numbers) if each != numbers[0] + n), len(numbers))
        row, numbers = numbers[:length], numbers[length:]
        yield f"{row[0]}-{row[-1]}" if length > 2 else " ".join(map(str, row))


if __name__ == "__main__":
    PAGE.write_text(page())
