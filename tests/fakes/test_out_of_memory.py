"""Packets for which there is no memory: one line each, and the next ones are served."""

import subprocess
import sys
from pathlib import Path
from typing import Final

#: Run in a process of its own, whose memory is used up for each packet but for pieces below
#: a size: that is where a C library has some left.
PROGRAM: Final = """
import ctypes, logging, resource, sys

import gdbstub.monitor.commands  # else imported for a packet: Python's errors are odd then
from gdbstub import rsp
from gdbstub.linux.kaslr import NO_PROGRAM
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.session import Session
from tests.fakes.machine import fake_machine

PACKETS = (
    b"m40000000,10000", b"x40000000,1ffff", b"M40000000,8000:" + b"a5" * 0x8000,
    b"X40000000,8000:" + b"}]" * 0x8000, b"qCRC:40000000,10000",
    b"qSearch:memory:40000000;10000;" + b"a" * 30000, b"qXfer:features:read:target.xml:0,ffff",
    b"qRcmd," + b"dump 0x40000000 65536".hex().encode(), b"g", b"?", b"jThreadsInfo",
    b"MultiMemRead:ranges:40000000,ffff,40000000,ffff;",
)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: everything is of one heap
logging.basicConfig(stream=sys.stdout, format="%(message)s")
machine = fake_machine(b"\\x1f\\x20\\x03\\xd5" * 64)
debugger = monitored_debugger(machine, NO_PROGRAM)
before = machine.read_memory(0x40000000, 16)


def use_up(least):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages << 12, resource.RLIM_INFINITY))
    held, size = [], 1 << 24
    while size >= least:
        if piece := libc.malloc(size):
            held.append(piece)
        else:
            size //= 2
    return held


def begin():
    session = Session(debugger)
    session.receive(rsp.encode(b"QStartNoAckMode"))
    session.receive(rsp.encode(b"Z0,40000008,4"))
    return session


failed = ended = 0
for least in (1 << 15, 1 << 12, 1 << 10):
    for payload in PACKETS:
        session, wire = begin(), rsp.encode(payload)
        held = use_up(least)
        try:
            out = session.receive(wire)
            while session.busy:
                out += session.advance()
        finally:
            for piece in held:
                libc.free(piece)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        failed += out.startswith(b"$E") and not session.over
        ended += session.over
        assert session.over or out.count(b"$") == 1, payload
        if not session.over:
            assert session.receive(rsp.encode(b"m40000000,4"))[:1] == b"$", payload
            session.close()
        assert machine.read_memory(0x40000008, 8) in (before[8:], b"\\xa5" * 8), payload
        assert begin().receive(rsp.encode(b"m40000000,4"))[1:3] != b"E"
print(f"{failed} errors, {ended} sessions ended, none lost")
"""


def test_big_packets_without_memory_are_one_line_each() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, last = done.stdout.splitlines()
    # CPython's own, of a copy of a bytearray that has failed.
    assert set(done.stderr.splitlines()) <= {
        "SystemError: deallocated bytearray object has exported buffers"
    }
    assert last.endswith(", none lost")
    failed, ended = int(last.split()[0]), int(last.split()[2])
    assert failed > 10
    assert len(lines) <= failed + ended
    assert set(lines) <= {
        "out of memory: a packet is answered by an error",
        "the session is closed: out of memory",
    }
