"""The runs on any machine: rounds of attach and detach, steps, hits, many breakpoints.

Each takes a function that makes the machine, and a count; it returns what it has measured.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub import rsp
from gdbstub.debug.debugger import Debugger
from gdbstub.machine import Machine
from gdbstub.protocol.server import Server
from gdbstub.target import Action, BreakpointKind, StopReason
from tests.bounds import HANGS
from tests.contract.client import Client
from tests.contract.laps import LAP_COUNT, begin, first
from tests.contract.programs import BASE, COUNT, Program
from tests.contract.recorder import StopRecorder
from tests.load.usage import Usage

#: Makes a machine that is halted at the first instruction of a program: image and vCPUs.
Make = Callable[[bytes, int], Machine]

_NOP: Final = b"\x1f\x20\x03\xd5"
_STAY: Final = b"\x00\x00\x00\x14"


class Figures(NamedTuple):
    """Work of a run, and the use of the process after a tenth of it and at its end."""

    what: str
    number: int
    early: Usage
    late: Usage

    def check(self, *, memory: bool = True) -> "Figures":
        """Check that nothing has grown."""
        self.early.check(self.late, memory=memory)
        return self

    def __str__(self) -> str:
        return f"{self.number:,} {self.what}: {self.early}; at the end {self.late}"


def rounds(make: Make, count: int, directory: Path) -> Figures:
    """Connect, halt the guest, set a breakpoint, and detach, *count* times: no BRK is left."""
    machine = make(COUNT.image, 1)
    try:
        return asyncio.run(_rounds(machine, count, directory))
    finally:
        machine.close()


async def _rounds(machine: Machine, count: int, directory: Path) -> Figures:
    early = Usage.now()
    counted = -1
    place = directory / "gdb"
    async with Server(Debugger(machine), f"unix:{place}", stop_wait_timeout=0.004):
        for number in range(count):
            counted = await _round(place, counted)
            if number == count // 10:
                early = Usage.now()
        late = Usage.now()
        reader, writer = await asyncio.open_unix_connection(place)
        words = await _ask(reader, writer, b"m40000000,8")
        assert bytes.fromhex(words.decode()) == COUNT.image, words
        writer.close()
    return Figures("rounds of attach and detach", count, early, late)


async def _round(place: Path, counted: int) -> int:
    """Attach and detach once; return the guest's own count, which is more than *counted*."""
    reader, writer = await asyncio.open_unix_connection(place)
    reply = await _ask(reader, writer, b"?")
    assert reply.startswith(b"T"), reply
    value = int.from_bytes(bytes.fromhex((await _ask(reader, writer, b"p0")).decode()), "little")
    assert value >= counted, "the guest did not go on"
    assert await _ask(reader, writer, b"Z0,40000000,4") == b"OK"
    assert await _ask(reader, writer, b"vCont;c") != b""
    assert await _ask(reader, writer, b"D") == b"OK"
    assert await asyncio.wait_for(reader.read(), HANGS) == b""
    writer.close()
    await writer.wait_closed()
    return value


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, packet: bytes) -> bytes:
    writer.write(rsp.encode(packet))
    connection = rsp.Connection()
    while True:
        data = await asyncio.wait_for(reader.read(4096), HANGS)
        assert data, f"the stub closed the connection instead of answering {packet!r}"
        for event in connection.receive(data):
            if isinstance(event, rsp.Packet):
                return event.data


def steps(make: Make, count: int) -> Figures:
    """Step *count* instructions of a loop: each moves PC, and each lap counts."""
    client = Client(make(COUNT.image, 1))
    try:
        early = Usage.now()
        for number in range(1, count + 1):
            client.resume({1: Action.STEP})
            assert client.pc(1) == BASE + 4 * (number % 2), number
            assert client.x(1, 0) == (number + 1) // 2, number
            if number == count // 10:
                early = Usage.now()
        return Figures("steps", count, early, Usage.now())
    finally:
        client.machine.close()


def hits(make: Make, count: int) -> Figures:
    """Hit a breakpoint in each of four vCPUs' loops, *count* times in all, and lose none."""

    def start(program: Program, *, vcpus: int) -> StopRecorder:
        return StopRecorder(make(program.image, vcpus))

    client = begin(start)
    try:
        early = Usage.now()
        for thread in client.threads:
            client.target.insert(1, BreakpointKind.SOFTWARE, first(thread), 4)
        reported: Counter[int] = Counter()
        for number in range(count):
            report = client.go()
            thread = report.thread
            reported[thread] += 1
            assert report.stop is StopReason.SWBREAK, report
            assert client.pc(thread) == first(thread)
            for each in client.threads:
                gone = client.x(each, LAP_COUNT) - reported[each]
                assert gone in ((-1, 0) if each == thread else (0, 1)), (each, reported)
            client.step_over(thread, BreakpointKind.SOFTWARE, first(thread), 4)
            if number == count // 10:
                early = Usage.now()
        assert min(reported[thread] for thread in client.threads) >= count // 8, reported
        return Figures("breakpoint hits over 4 vCPUs", count, early, Usage.now())
    finally:
        client.machine.close()


def breakpoints(make: Make, count: int) -> Figures:
    """Insert *count* breakpoints in a row, hit each once, and remove them: RAM is as it was."""
    image = _NOP * count + _STAY
    client = Client(make(image, 1))
    places = range(BASE, BASE + 4 * count, 4)
    try:
        for gva in places:
            client.target.insert(1, BreakpointKind.SOFTWARE, gva, 4)
        early = Usage.now()
        for gva in places[1:]:
            client.target.remove(1, BreakpointKind.SOFTWARE, gva - 4, 4)
            report = client.go()
            assert report.stop is StopReason.SWBREAK, report
            assert client.pc(1) == gva
            assert client.target.read_memory(1, gva, 4) == _NOP
            client.target.insert(1, BreakpointKind.SOFTWARE, gva - 4, 4)
            if gva == places[count // 10]:
                early = Usage.now()
        for gva in places:
            client.target.remove(1, BreakpointKind.SOFTWARE, gva, 4)
        client.resume({1: Action.STEP})
        assert client.machine.read_memory(BASE, len(image)) == image
        return Figures("breakpoints at once", count, early, Usage.now())
    finally:
        client.machine.close()
