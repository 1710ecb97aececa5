"""A debugger of a ``plain_vmm`` that is always in the middle of something, until it is killed."""

import sys

from gdbstub.foreign.attach import attached
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import VmmProcess
from gdbstub.target import Action, BreakpointKind
from tests.contract.client import Client
from tests.contract.programs import BASE, at


def main(pid: int, hva: int, size: int) -> None:
    with attached(VmmProcess(pid), [MemorySlot(BASE, size, hva)]) as machine:
        client = Client(machine)
        while True:
            for line in 0, 1:
                client.target.insert(1, BreakpointKind.SOFTWARE, at(line), 4)
            client.target.insert(1, BreakpointKind.HARDWARE, at(0), 4)
            print("busy", flush=True)
            client.go()
            client.resume({1: Action.STEP})
            for line in 0, 1:
                client.target.remove(1, BreakpointKind.SOFTWARE, at(line), 4)
            client.target.remove(1, BreakpointKind.HARDWARE, at(0), 4)
            client.resume({1: Action.STEP})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
