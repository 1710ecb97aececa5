"""Debuggers of a ``plain_vmm`` that are killed in the middle of something.

``python -m tests.contract.debugger_to_kill`` forks one for each line of input, which takes a
hundredth of the start of a process. It says ``busy`` with its pid, and ``ended`` when it has ended.
With a word in its line, it kills itself when that is in RAM, or right before that is written over.
"""

import os
import signal
import sys
import traceback

from gdbstub.foreign.attach import attached
from gdbstub.foreign.machine import ForeignMachine
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import VmmProcess
from gdbstub.target import Action, BreakpointKind
from tests.contract.client import Client
from tests.contract.programs import BASE, at
from tests.contract.run_control import BETWEEN, NEVER


def main() -> None:
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            pid, hva, size, *rest = line.split()
            try:
                with attached(VmmProcess(int(pid)), [MemorySlot(BASE, int(size), int(hva))]) as it:
                    print("busy", os.getpid(), flush=True)
                    store(it, *rest) if rest else debug(it)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print("ended", os.waitstatus_to_exitcode(status), flush=True)


def debug(machine: ForeignMachine) -> None:
    """Set breakpoints, step and remove them, for ever."""
    client = Client(machine)
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


def store(machine: ForeignMachine, word: str, moment: str) -> None:
    """Have the guest go on with a condition in its exclusive sequence, at ``ADDS_AND_STORES``."""
    plain, write = bytes.fromhex(word), machine._write

    def write_and_die(ipa: int, data: bytes, **more: bool) -> None:
        if moment == "after" and machine.read_memory(ipa, len(data)) == plain:
            os.kill(os.getpid(), signal.SIGKILL)
        write(ipa, data, **more)
        if moment == "before" and data == plain:
            os.kill(os.getpid(), signal.SIGKILL)

    machine._write = write_and_die  # type: ignore[method-assign]
    client = Client(machine)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(BETWEEN), 4)
    client.target.attach(BreakpointKind.SOFTWARE, at(BETWEEN), NEVER)
    client.go()


if __name__ == "__main__":
    main()
