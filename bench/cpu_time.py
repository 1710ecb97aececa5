"""CPU time of a packet on this machine, in this stub's process and in that of Debian's gdbserver.

The kernel's part is in it, the client's is not. There is no guest that runs: the packets read
registers and memory of a target at rest.
"""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from gdbstub import rsp

PROGRAM: Final = "gdbserver"
OURS: Final = "gdbstub"
#: Rows: their names, and the packets that they send; the address is one that can be read.
ROWS: Final[Mapping[str, str]] = {
    "`g`": "g",
    "`m` of 64 bytes": "m{address:x},40",
    "`m` of 2,048 bytes": "m{address:x},800",
}
#: Greatest ratio to gdbserver.
GOAL: Final = 1.3
_PACKETS: Final = 3000
_TIMES: Final = 5
_ROOT: Final = Path(__file__).parents[1]

#: Microseconds of each measurement, by row and program.
Figures = dict[tuple[str, str], list[float]]


def version() -> str:
    """Return gdbserver's version."""
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split("\n", 1)[0]


def measure(into: Figures) -> None:
    """Measure both, in turn."""
    with _gdbserver() as theirs, _gdbstub() as ours:
        for _ in range(_TIMES):
            for row, packet in ROWS.items():
                for name, server in ((PROGRAM, theirs), (OURS, ours)):
                    into.setdefault((row, name), []).append(server.microseconds(packet))


def ratio(figures: Figures, row: str) -> float:
    """Return how many times as much ours takes: the least of each, for other load only adds."""
    return min(figures[row, OURS]) / min(figures[row, PROGRAM])


class _Served:
    """A connection to a process that serves."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self._clock = ~pid << 3 | 2  # CPUCLOCK_SCHED of the process (clock_getcpuclockid)
        self._socket = connection
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = rsp.Connection()
        assert self.ask("QStartNoAckMode") == "OK"
        self._socket.sendall(b"+")
        self._replies.acks = False
        self.ask("qSupported:swbreak+;hwbreak+")
        self.address = 0x4000_0000

    def ask(self, packet: str) -> str:
        """Send *packet*; return the reply."""
        self._socket.sendall(rsp.encode(packet.encode()))
        while True:
            data = self._socket.recv(1 << 16)
            if not data:
                raise RuntimeError(f"the connection ended at {packet}")
            events = [each for each in self._replies.receive(data) if isinstance(each, rsp.Packet)]
            if events:
                return events[0].data.decode("latin-1")

    def microseconds(self, packet: str) -> float:
        """Measure the process's CPU time of one *packet*."""
        frame = rsp.encode(packet.format(address=self.address).encode())
        send, receive = self._socket.sendall, self._socket.recv
        before = time.clock_gettime(self._clock)
        for _ in range(_PACKETS):
            send(frame)
            while receive(1 << 16)[-3:-2] != b"#":
                pass
        return (time.clock_gettime(self._clock) - before) / _PACKETS * 1e6


@contextmanager
def _gdbserver() -> Iterator[_Served]:
    argv = [PROGRAM, "--once", "127.0.0.1:0", "/bin/true"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stderr=pipe, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr
        port = 0
        while not port:
            line = process.stderr.readline()
            port = int(match[1]) if (match := re.match(r"Listening on port (\d+)", line)) else 0
        with closing(socket.create_connection(("127.0.0.1", port))) as connection:
            served = _Served(process.pid, connection)
            # rip is in the stop reply; what it points into is a page of code.
            match = re.search(r";10:([0-9a-f]{16});", served.ask("?"))
            assert match
            served.address = int.from_bytes(bytes.fromhex(match[1]), "little") & -0x1000
            yield served
            connection.sendall(rsp.encode(b"k"))


@contextmanager
def _gdbstub() -> Iterator[_Served]:
    argv = [sys.executable, "-m", "bench.native"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=_ROOT) as process:
        assert process.stdin
        assert process.stdout
        host, _, port = process.stdout.readline().rpartition(":")
        with closing(socket.create_connection((host, int(port)))) as connection:
            yield _Served(process.pid, connection)
        process.stdin.close()
