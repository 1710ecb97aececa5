"""Saving and loading of a lab's state by QEMU's migration, with its memory left in a file."""

import asyncio
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import monitor
from gdbstub.lab.monitor import Client

#: Migration capability by which memory in a shared file is not copied.
IGNORE_SHARED: Final = "x-ignore-shared"
#: The pause between two questions for the migration's progress; QEMU takes 60 ms for all.
_ASK_SECONDS: Final = 0.005


def check(socket: Path) -> None:
    """Check that this QEMU can save a lab.

    Raises:
        LabError: it is too old.
    """

    async def work(client: Client) -> None:
        reply = await client.execute("query-migrate-capabilities")
        if IGNORE_SHARED not in str(reply):
            raise LabError(f"this QEMU has no migration capability {IGNORE_SHARED} (QEMU 4.0 has)")

    monitor.converse(socket, work)


def save(socket: Path, directory: Path) -> bytes:
    """Halt the lab; return its state without its memory, which is in a shared file.

    *directory* is for a socket that QEMU connects to.

    Raises:
        LabError: QEMU cannot save it.
    """
    place = directory / "outgoing"

    async def work(client: Client) -> bytes:
        state: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            state.set_result(await reader.read())
            writer.close()

        async with await asyncio.start_unix_server(receive, place):
            await _ignore_shared(client)
            await client.execute("stop")
            await client.execute("migrate", {"uri": f"unix:{place}"})
            if await _end(client, "query-migrate", "", "setup", "active", "device") != "completed":
                raise LabError("QEMU cannot save the lab's state")
            return await state

    return monitor.converse(socket, work)


def load(socket: Path, directory: Path, state: bytes) -> list[monitor.Forward]:
    """Give *state* to a QEMU that waits for it, and start the lab; return its port forwards.

    Raises:
        LabError: QEMU cannot use the state.
    """
    place = directory / "incoming"

    async def work(client: Client) -> list[monitor.Forward]:
        await _ignore_shared(client)
        await client.execute("migrate-incoming", {"uri": f"unix:{place}"})
        _, writer = await asyncio.open_unix_connection(place)
        writer.write(state)
        await writer.drain()
        writer.close()
        if await _end(client, "query-status", "inmigrate") != "running":
            await client.execute("cont")
        return monitor.forwards(await monitor.human(client, monitor.TABLE))

    return monitor.converse(socket, work)


async def _ignore_shared(client: Client) -> None:
    wanted = {"capability": IGNORE_SHARED, "state": True}
    await client.execute("migrate-set-capabilities", {"capabilities": [wanted]})


async def _end(client: Client, command: str, *during: str) -> str:
    """Ask *command* for a status until it is none of *during*; return it."""
    while True:
        reply = await client.execute(command)
        status = str(reply.get("status", "")) if isinstance(reply, dict) else ""
        if status not in during:
            return status
        # An event would never come from a QEMU that has ended; a question then raises.
        await asyncio.sleep(_ASK_SECONDS)
