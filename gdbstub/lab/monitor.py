"""Port forwards of the lab's QEMU: listed, added and removed by its monitor.

Each request has a short QMP connection of its own, by QEMU's own Python package: QEMU serves one
client at a time, and several processes may share a lab.
"""

import asyncio
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError, excerpt

#: Seconds that QEMU may take for a command, emulation of a busy guest included.
PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Forward:
    """One TCP port of this machine that is forwarded into the lab."""

    address: str
    local_port: int
    port: int


def command(socket: Path, line: str) -> str:
    """Run one human-monitor command; return its output.

    It runs in a thread of its own, so that a caller may be inside an event loop.

    Raises:
        LabError: QEMU does not answer.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(_command(socket, line))).result()


async def _command(socket: Path, line: str) -> str:
    from qemu.qmp import QMPClient

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # an error is reported here, once
    client = QMPClient("lab")
    try:
        async with asyncio.timeout(PATIENCE):
            await client.connect(str(socket))
            try:
                arguments = {"command-line": line}
                return str(await client.execute("human-monitor-command", arguments))
            finally:
                await client.disconnect()
    except TimeoutError as error:
        why = f"it is silent for {PATIENCE:g} s"
        raise LabError(f"the lab's QEMU does not answer at {socket}: {why}") from error
    except Exception as error:  # the library leaves some replies to whatever Python raises
        why = excerpt(str(error).partition("\n")[0])  # the others have what QEMU sent
        raise LabError(f"the lab's QEMU does not answer at {socket}: {why}") from error


def forwards(table: str) -> list[Forward]:
    """Parse the port forwards in *table*, the output of ``info usernet``."""
    pattern = r"^\s*TCP\[HOST_FORWARD\]\s+\d+\s+(\S+)\s+(\d{1,5})\s+\S+\s+(\d{1,5})\b"
    rows = re.findall(pattern, table, re.MULTILINE)
    return [Forward(address, int(local), int(port)) for address, local, port in rows]


def add(socket: Path, address: str, local_port: int, port: int) -> int:
    """Forward *local_port* (0: any free one) of *address* to *port* in the lab; return it.

    Raises:
        LabError: QEMU cannot listen there.
    """
    before = set(forwards(command(socket, "info usernet")))
    if refusal := command(socket, f"hostfwd_add net tcp:{address}:{local_port}-:{port}").strip():
        raise LabError(f"cannot listen on {address}:{local_port}: {refusal}")
    new = set(forwards(command(socket, "info usernet"))) - before
    for row in new:
        if row.port == port:
            return row.local_port
    raise LabError(f"cannot listen on {address}:{local_port}: QEMU lists no forward to port {port}")


def remove(socket: Path, address: str, local_port: int) -> None:
    """Stop listening on *local_port*; open connections stay open."""
    command(socket, f"hostfwd_remove net tcp:{address}:{local_port}")
