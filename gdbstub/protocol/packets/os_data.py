"""Tables for GDB's ``info os``, the table of tables among them.

A machine has no processes; its vCPUs are the threads.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from gdbstub.errors import PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.xml import escape
from gdbstub.target import program_counter

#: A row: texts by the names of their columns, the same ones in every row.
_Row = Mapping[str, str]


class _Table(NamedTuple):
    """One table of ``info os NAME``; ``title`` is for a client that has a menu of them."""

    title: str
    description: str
    rows: Callable[[ClientState], Iterator[_Row]]


def os_data_xml(client: ClientState, annex: str) -> bytes:
    """Make the table *annex*; "" is that of tables (GDB manual, "Operating System Information").

    Raises:
        PacketError: there is no such table.
    """
    name = annex or "types"
    if not (table := _TABLES.get(name)):
        raise PacketError(f"there is no table {name}; expected {' or '.join(_TABLES)}")
    lines = (f"<item>{_columns(row)}</item>" for row in table.rows(client))
    return "\n".join((f'<osdata type="{name}">', *lines, "</osdata>", "")).encode()


def _columns(row: _Row) -> str:
    return "".join(
        f'<column name="{escape(name)}">{escape(text)}</column>' for name, text in row.items()
    )


def _types(client: ClientState) -> Iterator[_Row]:
    for name, table in _TABLES.items():
        if name != "types":
            yield {"Type": name, "Description": table.description, "Title": table.title}


def _threads(client: ClientState) -> Iterator[_Row]:
    pc = program_counter(client.registers)
    for thread in client.target.threads():
        if thread.id in client.known_threads:
            gva = int.from_bytes(client.target.read_registers(thread.id, (pc,)), "little")
            yield {
                "thread": str(thread.id),
                "core": str(thread.core),
                "name": thread.name,
                "state": thread.state,
                "pc": f"{gva:#x}",
            }


_TABLES: Final = {
    "types": _Table("", "", _types),
    "threads": _Table("Threads", "Listing of all threads, which are the vCPUs", _threads),
}
