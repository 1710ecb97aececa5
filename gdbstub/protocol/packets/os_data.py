"""Tables for GDB's ``info os``, the table of tables among them.

The threads are the vCPUs. Other tables are of a target that knows its operating system.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from gdbstub.capabilities import OsTable, os_tables
from gdbstub.errors import PacketError, excerpt
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.xml import escape
from gdbstub.target import program_counter

#: Tables that need no look at the guest's memory.
OURS: Final = ("", "types", "threads")

#: A row: texts by the names of their columns, the same ones in every row.
_Row = Mapping[str, str]


def os_data_xml(client: ClientState, annex: str) -> bytes:
    """Make the table *annex*; "" is that of tables (GDB manual, "Operating System Information").

    Raises:
        PacketError: there is no such table.
    """
    name = annex or "types"
    tables = _tables(client)
    if not (table := tables.get(name)):
        raise PacketError(f"there is no table {excerpt(name)}; expected {' or '.join(tables)}")
    lines = (f"<item>{_columns(row)}</item>" for row in table.rows())
    return "\n".join((f'<osdata type="{name}">', *lines, "</osdata>", "")).encode()


def _columns(row: _Row) -> str:
    return "".join(
        f'<column name="{escape(name)}">{escape(text)}</column>' for name, text in row.items()
    )


def _threads(client: ClientState) -> Iterator[_Row]:
    pc = program_counter(client.registers)
    for thread in client.target.threads() if client.attached else ():
        gva = int.from_bytes(client.target.read_registers(thread.id, (pc,)), "little")
        yield {
            "thread": str(thread.id),
            "core": str(thread.core),
            "name": thread.name,
            "state": thread.state,
            "pc": f"{gva:#x}",
        }


def _tables(client: ClientState) -> Mapping[str, OsTable]:
    """Return all tables by name, that of tables among them."""
    described = "Listing of all threads, which are the vCPUs"
    ours = [OsTable("threads", "Threads", described, partial(_threads, client))]
    # A guest that runs on without a client is not looked at.
    more = os_tables(client.target) if client.attached else None
    ours += more.os_tables if more else ()
    names = [
        {"Type": each.name, "Description": each.description, "Title": each.title} for each in ours
    ]
    return {each.name: each for each in (OsTable("types", "", "", lambda: names), *ours)}
