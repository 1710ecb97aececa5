"""Time that packets take of the event loop: ``python -m tests.packet_costs [VCPUS [every]]``.

Single ones are as long as they may be and made to cost much; floods are as many bytes as are read
at once; with ``every`` all names of packets are tried. The debug core is real, over the
fake machine; the longest turn of the loop counts, the best of three runs.
"""

import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Final

from gdbstub import rsp
from gdbstub.linux.kaslr import NO_PROGRAM
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.packets import PACKETS
from gdbstub.protocol.session import Session
from tests.fakes.machine import fake_machine

_ROOM: Final = rsp.PACKET_SIZE - 64
_SHOWN: Final = 12
_SHORT: Final = 0.005
#: Bytes that the event loop reads at once.
_READ: Final = 256 << 10


def fill(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """A payload of *start*, as many *unit* as fit, and *end*."""
    return start + unit * ((_ROOM - len(start) - len(end)) // len(unit)) + end


def monitor(start: bytes, unit: bytes) -> bytes:
    """A line after ``monitor``, as long as fits."""
    line = start + unit * ((_ROOM // 2 - len(start) - 8) // len(unit))
    return b"qRcmd," + line.hex().encode()


def expression(unit: bytes) -> bytes:
    """A breakpoint with one condition of *unit* again and again."""
    code = unit * (_ROOM // 2 // len(unit) - 16)
    return b"Z0,40000010,4;X%x,%b" % (len(code), code.hex().encode())


def packets() -> Iterator[bytes]:
    """Yield payloads: numbers, lists, expressions, data, lines of text."""
    numbers = (
        "m m0, M M0,1: X x Z0, Z0,40000010, Z2,0, Hg Hgp Hgp1. T p P c C05; s D; vKill; vAttach;"
    )
    numbers += " vCont;r vCont;r0, vCont;c: vCont;c:p qCRC: qSearch:memory: qThreadExtraInfo,"
    numbers += " qXfer:features:read:target.xml: qMemTags: QMemTags:0,0:1: qIsAddressTagged:"
    for start in numbers.encode().split():
        for unit in (b"0", b"f", b"p", b"-", b","):
            yield fill(start, unit)
            yield fill(start, unit, b"x")
    for action in (b";c", b";c:1", b";t", b";t:-1", b";S05:p1.1", b";r0,4:1", b";"):
        yield fill(b"vCont", action)
    for clause in (b"X1,27", b"X2,2227", b"X3,220127", b"X0,", b";", b"X", b"X1,27;cmds:1,"):
        yield fill(b"Z0,40000010,4;", clause)
        yield fill(b"Z0,40000010,4;cmds:1,", clause, b"y")
    for code in (b"\x27", b"\x22\x01", b"\x21\x00\x00", b"\x26\x00\x00", b"\x20\x00\x00", b"\x34"):
        yield expression(code)
    for unit in (b"22012a29", b"220129"):  # in several expressions, each as long as may be
        code = unit * (0x4000 // len(unit) - 4) + b"220127"
        for count in (1, 3):
            yield b"Z0,40000010,4;" + b"X%x,%b" % (len(code) // 2, code) * count
    listed = b",".join(b'"Z0,%x,4"' % (0x4000_0000 + 4 * n) for n in range(7000))
    yield b'jMultiBreakpoint:{"breakpoint_requests":[%b]}' % listed
    yield fill(b"MultiMemRead:ranges:", b"10,1,", b";")
    yield fill(b"MultiMemRead:ranges:", b"40000000,1ffff,", b";")
    yield fill(b"X40000000,%x:" % (_ROOM - 20), b"a")[: _ROOM - 6]
    yield b"X40000000,8000:" + b"}" * 0x8000
    yield fill(b"M40000000,10000:", b"a5")
    yield fill(b"G", b"0")
    yield b"m40000000,10000"
    yield b"x40000000,1ffff"
    for pattern in (b"a", b"ab", b"\x00"):
        yield fill(b"qSearch:memory:40000000;ffffffff;", pattern)
        yield fill(b"qSearch:memory:40000000;ffffffff;", pattern, b"Q")
    yield b"qCRC:40000000,ffffffffffff"
    for document in (
        b"features:read:target.xml",
        b"threads:read:",
        b"osdata:read:",
        b"libraries:read:",
    ):
        yield b"qXfer:" + document + b":0,ffff"
        yield b"qXfer:" + document + b":ffffffffffffffff,ffff"
    yield fill(b"qXfer:osdata:read:", b"a", b":0,ff")
    for unit in (b"a+;", b"=;", b";", b"swbreak+;", b"xmlRegisters=i386;"):
        yield fill(b"qSupported:", unit)
    for unit in (b";thread:1;", b";thread:", b";", b"1;"):
        yield fill(b"g", unit)
        yield fill(b"p20;thread:", unit)
    for start in (b"", b"help ", b"dump ", b"walk $", b"regs ", b"info ", b"break list ", b"x"):
        for unit in (b" ", b"a", b"a ", b"0", b"1", b"'", b'"', b"\\", b"-", b"\xff", b"0x1 "):
            yield monitor(start, unit)
    for line in (
        "dump 0x40000000 65536",
        r"regs (\w*\w*)*!",
        r"regs .*.*!",
        "regs" + " .*.*|!" * 16,
    ):
        yield b"qRcmd," + line.encode().hex().encode()
    for unknown in (b"j", b"q", b"Q", b"v", b"_", b"\x00", b"jThreadsInfo", b"qThreadStopInfo"):
        yield fill(unknown, b"0")
    yield from (b"jThreadsInfo", b"qfThreadInfo", b"qsThreadInfo", b"qHostInfo", b"g", b"?")


def every_name() -> Iterator[bytes]:
    """Yield each name in the table of packets, with fillings behind beginnings of its arguments."""
    fillings = (
        rb"0 f 1, 0, ; : - , p p1.1; ff,ff; 41 7d }] \x00 \xff [ {"
        rb' " {"a": [0, 5b 7b22 . a=b; 0000000000000000 1;2; *~'
    ).split()
    for name in PACKETS:
        for filling in fillings:
            for start in (b"", b":", b"0,", b"40000000,4;", b"1:", b"::0,"):
                yield fill(name + start, filling)


def floods() -> Iterator[bytes]:
    """Yield bytes of which many can arrive at once: cheap events, and packets that cost some."""
    code = b"22012a29" * 100 + b"220127"
    condition = rsp.encode(b"Z0,40000010,4;X%x,%b" % (len(code) // 2, code))
    unknown = rsp.encode(b"qRcmd," + b"unknowns".hex().encode())
    running = rsp.encode(b"vCont;c")
    search = rsp.encode(b"qSearch:memory:40000000;10000;needle")
    for unit in (b"+", b"-", b"+-", b"\x03", b"$#01", b"$}}}}}}}}#00", b"$a*~#00", b"\x03+"):
        yield unit * (_READ // len(unit))
        yield running + unit * (_READ // len(unit))
        yield search + unit * (_READ // len(unit))
    for unit in (condition, unknown, search + b"\x03", rsp.encode(b"?"), rsp.encode(b"vCtrlC")):
        yield unit * (_READ // len(unit))


def longest_turn(wire: bytes, vcpus: int) -> float:
    """Seconds of the longest turn that *wire* takes."""
    machine = fake_machine(b"\x1f\x20\x03\xd5" * 64, vcpus=vcpus)
    session = Session(monitored_debugger(machine, NO_PROGRAM))
    session.receive(rsp.encode(b"QStartNoAckMode") + rsp.encode(b"QListThreadsInStopReply"))
    start = perf_counter()
    session.receive(wire)
    worst = perf_counter() - start
    for _ in range(8):
        if session.busy:
            start = perf_counter()
            session.advance()
            worst = max(worst, perf_counter() - start)
    session.close()
    machine.close()
    return worst


def best(wire: bytes, vcpus: int) -> float:
    """Seconds of the longest turn, the best of three runs unless that is short anyway."""
    first = longest_turn(wire, vcpus)
    if first < _SHORT:
        return first
    return min(first, *(longest_turn(wire, vcpus) for _ in range(2)))


def main(vcpus: int, *more: str) -> None:
    """Print the dearest packets, and the dearest floods."""
    payloads = every_name() if more else packets()
    for what, wires in (("packets", map(rsp.encode, payloads)), ("floods", floods())):
        costs = {wire: best(wire, vcpus) for wire in wires}
        for wire, seconds in sorted(costs.items(), key=lambda row: -row[1])[:_SHOWN]:
            said = wire[:40].decode("ascii", "backslashreplace")
            print(f"{seconds * 1000:7.1f} ms  {len(wire):6} bytes  {said!r}")
        print(f"{len(costs)} {what}, {vcpus} vCPUs")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 4, *sys.argv[2:])
