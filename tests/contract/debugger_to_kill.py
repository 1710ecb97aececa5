"""Debuggers of a ``plain_vmm`` that are always in the middle of something, until they are killed.

``python -m tests.contract.debugger_to_kill`` forks one for each line of input, which takes a
hundredth of the start of a process. It says ``busy`` with its pid, and ``ended`` when it has ended.
"""

import os
import sys

from gdbstub.foreign.attach import attached
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import VmmProcess
from gdbstub.target import Action, BreakpointKind
from tests.contract.client import Client
from tests.contract.programs import BASE, at


def main() -> None:
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            try:
                debug(*map(int, line.split()))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print("ended", os.waitstatus_to_exitcode(status), flush=True)


def debug(pid: int, hva: int, size: int) -> None:
    with attached(VmmProcess(pid), [MemorySlot(BASE, size, hva)]) as machine:
        client = Client(machine)
        print("busy", os.getpid(), flush=True)
        while True:
            for line in 0, 1:
                client.target.insert(1, BreakpointKind.SOFTWARE, at(line), 4)
            client.target.insert(1, BreakpointKind.HARDWARE, at(0), 4)
            client.go()
            client.resume({1: Action.STEP})
            for line in 0, 1:
                client.target.remove(1, BreakpointKind.SOFTWARE, at(line), 4)
            client.target.remove(1, BreakpointKind.HARDWARE, at(0), 4)
            client.resume({1: Action.STEP})


if __name__ == "__main__":
    main()
