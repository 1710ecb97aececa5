"""Packets that read and write registers, by the numbers of the target description.

A register that the target cannot read is sent as ``xx``, which GDB shows as unavailable. LLDB
would take that for a value: it gets an error.
"""

from binascii import hexlify

from gdbstub.architecture import Register
from gdbstub.errors import NoSuchRegister, PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet


@packet("g", suffix=True)
def read_all(client: ClientState) -> bytes:
    """``g``: read the general registers, those of the first feature (GDB manual, E.2).

    A client reads the others with ``p``, vectors for example: most stops need none.
    """
    rows = client.general_registers
    try:
        return hexlify(client.target.read_registers(client.general_thread, rows))
    except NoSuchRegister:
        return b"".join(_read(client, (row,)) for row in rows)


@packet("G", "XX…", suffix=True)
def write_all(client: ClientState, data: bytes) -> bytes:
    """``G XX…``: write the general registers, from the first as far as it goes (GDB manual, E.2).

    Only values that differ are written: a client sends back all that it read, also values that the
    target would refuse, and zeros for registers that are unavailable. Registers that others depend
    on are written first.
    """
    at = 0
    values: list[tuple[Register, bytes]] = []
    for row in client.general_registers:
        if at == len(data):
            break
        value = data[at : (at := at + row.size)]
        if len(value) != row.size:
            raise PacketError("register data ends within a register")
        values.append((row, value))
    if at < len(data):
        raise PacketError("more register data than registers")
    values.sort(key=lambda each: not each[0].leads)
    for row, value in values:
        if _read(client, (row,)) not in (value.hex().encode(), b"xx" * row.size):
            client.target.write_register(client.general_thread, row, value)
    return b"OK"


@packet("p", "n", suffix=True)
def read_one(client: ClientState, n: int) -> bytes:
    """``p n``: read register *n* (GDB manual, E.2)."""
    row = _row(client, n)
    try:  # as ``_read`` does, without a call: clients read one register after another
        return hexlify(client.target.read_registers(client.general_thread, row))
    except NoSuchRegister:
        if client.lldb:
            raise
        return b"xx" * row[0].size


@packet("P", "n=XX…", suffix=True)
def write_one(client: ClientState, n: int, data: bytes) -> bytes:
    """``P n=r…``: write register *n* (GDB manual, E.2)."""
    (row,) = _row(client, n)
    if len(data) != row.size:
        raise PacketError(f"{row.name} has {row.size} bytes, not {len(data)}")
    client.target.write_register(client.general_thread, row, data)
    return b"OK"


def _row(client: ClientState, n: int) -> tuple[Register]:
    try:
        return client.registers_by_number[n]
    except KeyError:
        raise NoSuchRegister(f"no register {n}") from None


def _read(client: ClientState, row: tuple[Register]) -> bytes:
    try:
        return hexlify(client.target.read_registers(client.general_thread, row))
    except NoSuchRegister:
        return b"xx" * row[0].size
