"""Time that a hostile guest's memory costs the event loop: ``python -m tests.hostile_costs``.

The memory answers each read with the worst for the command that looks through it. The longest turn
of the loop counts, in seconds of this process, and the sum of all.
"""

import struct
from collections.abc import Iterator
from time import process_time

from gdbstub import rsp
from gdbstub.aarch64.registers import PC
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.session import Session
from tests.pure.hostile_guests import (
    CODE,
    DATA,
    FIRST,
    HEAD,
    IMAGE_SIZE,
    PAGE,
    SIZE,
    Area,
    HostileMachine,
    again,
    at,
    chain,
    kernel,
    log_ring,
    pages,
    same_names,
    with_module,
    with_symbols,
)

_ALMOST = b"OSRELEASE=6\nSYMBOL(init_uts_ns)=0\nNUMBER(kimage_voffset)=0\nPAGESIZE"


def monitor(line: str) -> bytes:
    """The packet for a line after ``monitor``."""
    return b"qRcmd," + line.encode().hex().encode()


def cases() -> Iterator[tuple[str, HostileMachine, bytes]]:
    """Yield guests, each with its name and the packet that looks through it."""
    endless = Area(DATA, SIZE, chain(64))
    yield "a list of tasks", kernel(endless), monitor("ps")
    yield "a table of tasks", kernel(endless), b"qXfer:osdata:read:tasks:0,1000"
    yield "a list of modules", with_module(kernel(endless), DATA), monitor("modules")
    heads = Area(FIRST + PAGE, IMAGE_SIZE, again(struct.pack("<Q", at(DATA))))
    yield "heads of that list", kernel(endless, heads), monitor("modules")
    yield "names of types", kernel(endless, types=same_names()), monitor("ps")
    middle = SIZE // 2
    row = struct.pack("<IBBHQQ", 8, 0, 0, 1, CODE, 0)
    names = Area(middle, SIZE, again(b"$xxxxxxx"))
    machine = with_module(kernel(Area(DATA, middle, again(row)), names), HEAD - 8)
    machine.vcpus[0].set(PC, CODE + 0x100)
    with_symbols(machine, 1 << 17, DATA, middle)
    yield "symbols", machine, monitor("bt")
    machine = kernel(Area(DATA, SIZE, again(struct.pack("<Q", 1 << 16 | 0xFFFF))))
    log_ring(machine, 20)
    yield "a log", machine, monitor("dmesg")
    machine = HostileMachine([Area(0, SIZE, pages(_ALMOST))])
    machine.written.clear()
    yield "texts like VMCOREINFO", machine, monitor("ps")
    machine = HostileMachine()
    machine.write_info("A=\n" * 20_000)
    yield "lines of VMCOREINFO", machine, monitor("ps")


def main() -> None:
    """Print the longest turn, the number of turns and the sum for each."""
    for name, machine, packet in cases():
        session = Session(monitored_debugger(machine))
        session.receive(rsp.encode(b"QStartNoAckMode") + b"+")
        start = last = process_time()
        session.receive(rsp.encode(packet))
        longest, turns = process_time() - last, 1
        while session.busy:
            last = process_time()
            session.advance()
            longest, turns = max(longest, process_time() - last), turns + 1
        total = process_time() - start
        session.close()
        print(f"{longest * 1000:6.1f} ms, {turns:4} turns, {total:4.1f} s  {name}", flush=True)


if __name__ == "__main__":
    main()
