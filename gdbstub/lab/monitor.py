"""QEMU's monitor: its commands, the lab's port forwards, and reading of the lab's RAM.

Each request has a short QMP connection of its own, by QEMU's own Python package: QEMU serves one
client at a time, and several processes may share a lab.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar, cast

from gdbstub.errors import LabError, excerpt
from gdbstub.signals import deferred_signals, result_of

#: Seconds that QEMU may take, also where it saves or loads a state: many times its usual time.
TIMEOUT: Final = 60.0

#: Seconds that it may take to remove a forward.
REMOVE_TIMEOUT: Final = 5.0

Result = TypeVar("Result")

TABLE: Final = "info usernet"

#: Beginning of the RAM of QEMU's machine virt.
RAM: Final = 1 << 30


class Client(Protocol):
    """The part of ``qemu.qmp.QMPClient`` that is used here."""

    async def execute(self, cmd: str, arguments: Mapping[str, object] | None = None) -> object:
        """Run a QMP command; return its reply."""
        ...


@dataclass(frozen=True, slots=True)
class Forward:
    """One TCP port of this machine that is forwarded into the lab."""

    address: str
    local_port: int
    port: int


def converse(
    socket: Path, work: Callable[[Client], Awaitable[Result]], seconds: float | None = None
) -> Result:
    """Connect to the monitor at *socket* and do *work* with it, in *seconds* or ``TIMEOUT``.

    It runs in a thread of its own, so that a caller may be inside an event loop.

    Raises:
        LabError: QEMU does not answer, or refuses.
    """
    with ThreadPoolExecutor(1) as thread:
        with deferred_signals():
            answer = thread.submit(lambda: asyncio.run(_converse(socket, work, seconds or TIMEOUT)))
        return result_of(answer)


async def _converse(
    socket: Path, work: Callable[[Client], Awaitable[Result]], seconds: float
) -> Result:
    from qemu.qmp import ExecuteError, QMPClient

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # an error is reported here, once
    client = QMPClient("lab")
    try:
        async with asyncio.timeout(seconds):
            await client.connect(str(socket))
            try:
                return await work(client)
            finally:
                await client.disconnect()
    except ExecuteError as error:
        raise LabError(f"the lab's QEMU refuses: {excerpt(str(error))}") from error
    except LabError:
        raise
    except TimeoutError as error:
        why = f"it is silent for {seconds:g} s"
        raise LabError(f"the lab's QEMU does not answer at {socket}: {why}") from error
    except Exception as error:  # the library leaves some replies to whatever Python raises
        why = excerpt(str(error).partition("\n")[0])  # the others have what QEMU sent
        raise LabError(f"the lab's QEMU does not answer at {socket}: {why}") from error


def command(socket: Path, line: str) -> str:
    """Run one human-monitor command; return its output.

    Raises:
        LabError: QEMU does not answer.
    """
    return converse(socket, lambda client: human(client, line))


async def human(client: Client, line: str) -> str:
    """Run one human-monitor command over *client*; return its output."""
    return str(await client.execute("human-monitor-command", {"command-line": line}))


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

    async def work(client: Client) -> int:
        before = set(forwards(await human(client, TABLE)))
        line = f"hostfwd_add net tcp:{address}:{local_port}-:{port}"
        if refusal := (await human(client, line)).strip():
            raise LabError(f"cannot listen on {address}:{local_port}: {refusal}")
        for row in set(forwards(await human(client, TABLE))) - before:
            if row.port == port:
                return row.local_port
        raise LabError(
            f"cannot listen on {address}:{local_port}: QEMU lists no forward to port {port}"
        )

    return converse(socket, work)


def remove(socket: Path, address: str, local_port: int) -> None:
    """Stop listening on *local_port*; open connections stay open.

    Raises:
        LabError: QEMU does not answer soon: a program that ends waits for this.
    """
    line = f"hostfwd_remove net tcp:{address}:{local_port}"
    converse(socket, lambda client: human(client, line), REMOVE_TIMEOUT)


def read_memory(socket: Path, areas: Sequence[range], directory: Path) -> list[bytes]:
    """Return what the lab's RAM has in *areas*, by way of a file in *directory*.

    Raises:
        LabError: QEMU does not answer, or an area is not all RAM: a device is not read.
    """
    file = directory / f"ram.{secrets.token_hex(8)}"

    async def work(client: Client) -> list[bytes]:
        told = cast("Mapping[str, int]", await client.execute("query-memory-size-summary"))
        ram, contents = range(RAM, RAM + told["base-memory"]), list[bytes]()
        for area in areas:
            if area.start not in ram or area.stop > ram.stop:
                raise LabError(f"the lab has no RAM at {area.start:#x}, of {len(area):#x} bytes")
            where = {"val": area.start, "size": len(area), "filename": str(file)}
            await client.execute("pmemsave", where)
            contents.append(file.read_bytes())
            if len(contents[-1]) != len(area):
                raise LabError(
                    f"QEMU saves {len(contents[-1])} bytes of {len(area)}: is {directory} full?"
                )
        return contents

    file.touch(0o600)
    try:
        return converse(socket, work) if areas else []
    finally:
        file.unlink(missing_ok=True)


def quit_qemu(socket: Path) -> None:
    """End QEMU.

    Raises:
        LabError: it does not answer.
    """
    converse(socket, lambda client: client.execute("quit"))
