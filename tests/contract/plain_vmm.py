"""A VMM without a stub, as a process of its own: each line of its input is a VM to run.

Each VM is a process forked from one that has everything imported. It says on standard output its
process id and the address of its RAM. vCPU 0 spins at the last word of RAM, the others are off.
MMIO is answered at the socket that the line names.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Final

from gdbstub.aarch64.registers import PC
from gdbstub.machine import DebugExit, Exit, RunMode
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import BASE, SPIN

_SERVER: Final = 0


class Forwarded:
    """A device that another process answers for."""

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(f"\0{name}")
        self._answers = self._socket.makefile("r")

    def read(self, ipa: int, size: int) -> int:
        return self._ask(f"{ipa} {size}")

    def write(self, ipa: int, size: int, value: int) -> None:
        self._ask(f"{ipa} {size} {value}")

    def _ask(self, line: str) -> int:
        with self._lock:
            self._socket.sendall(line.encode() + b"\n")
            return int(self._answers.readline() or 0)


class Ignorant:
    """A VMM that debugs nothing: it goes on after an exit for a debugger, and says so once."""

    def __init__(self) -> None:
        self._said = False

    def debug_exit(self, exit: DebugExit) -> RunMode | None:
        if not self._said:
            self._said = True
            os.write(sys.stderr.fileno(), f"plain VMM {os.getpid()}: {exit}\n".encode())
        return RunMode()

    def parked(self, exits: Sequence[Exit]) -> None:
        os._exit(0)


def run(program: bytes, vcpus: int, memory: int, device: str) -> None:
    machine = kvm_machine(
        program, vcpus=vcpus, memory=memory, device=Forwarded(device) if device else None
    )
    machine.listener = Ignorant()
    spin = BASE + memory - 4
    machine.write_memory(spin, SPIN.image)
    machine.vcpus[0].set(PC, spin)
    if time := machine.capabilities.time:
        time.time_stands_still = False
    machine.resume({index: RunMode() for index in range(vcpus)})
    print(os.getpid(), machine.ram.region.userspace_addr, flush=True)
    while True:
        signal.pause()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        if os.fork() == _SERVER:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asked = json.loads(line)
            run(bytes.fromhex(asked["program"]), asked["vcpus"], asked["memory"], asked["device"])


if __name__ == "__main__":
    main()
