"""A ``plain_vmm`` whose guest counts, to be attached to many times, and its debugger killed."""

import os
import random
import signal
import time
from collections.abc import Mapping
from types import MappingProxyType

from gdbstub.aarch64.registers import PC, X
from gdbstub.foreign.attach import attached, recover
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import VmmProcess
from gdbstub.target import BreakpointKind
from tests.contract.client import Client
from tests.contract.foreign_machine import server_of, start_vmm
from tests.contract.programs import BASE, COUNT, Program, at

SIZE = 2 << 20


class Vmm:
    """A ``plain_vmm`` whose guest counts in x0, at the program's two instructions."""

    def __init__(
        self, program: Program = COUNT, registers: Mapping[int, int] = MappingProxyType({})
    ) -> None:
        """Start a guest with the *registers* X0 to X30 that are given."""
        self.pid, hva = start_vmm(program.image, memory=SIZE)
        self.process = VmmProcess(self.pid)
        self.slot = MemorySlot(BASE, SIZE, hva)
        with attached(self.process, [self.slot]) as machine:
            for number, value in registers.items():
                machine.vcpus[0].set(X[number], value)
            machine.vcpus[0].set(PC, at(0))

    @property
    def text(self) -> bytes:
        with open(f"/proc/{self.pid}/mem", "rb") as memory:
            memory.seek(self.slot.hva)
            return memory.read(4096)

    def counts_on(self) -> bool:
        """Return True if the guest is alive."""
        before = self.count()
        time.sleep(0.05)  # the guest's, not a wait for it
        return self.count() > before

    def count(self) -> int:
        with attached(self.process, [self.slot]) as machine:
            assert (pc := machine.vcpus[0].get(PC)) in (at(0), at(1)), f"PC is {pc:#x}"
            return machine.vcpus[0].get(X[0])

    def traces(self) -> tuple[object, ...]:
        """The parts of the process that a debugger might change: not what it allocates itself."""
        status = [VmmProcess(tid).status() for tid in self.process.threads()]
        masks = [(each["SigBlk"], each["TracerPid"], each["Name"]) for each in status]
        ram = range(self.slot.hva, self.slot.hva + self.slot.size)
        mappings = [
            each
            for each in self.process.mappings()
            if "x" in each.flags or (each.start < ram.stop and ram.start < each.end)
        ]
        return masks, mappings, self.process.descriptors()


def attach_and_detach(vmm: Vmm) -> None:
    """Attach, come to a breakpoint, and detach: the guest's text is as before."""
    text = vmm.text
    with attached(vmm.process, [vmm.slot]) as machine:
        client = Client(machine)
        client.target.insert(1, BreakpointKind.SOFTWARE, at(1), 4)
        assert client.go().thread == 1
        assert vmm.text != text
    assert vmm.text == text


def kill_a_debugger(vmm: Vmm, choose: random.Random) -> None:
    """Kill a debugger at a moment that *choose* has chosen, and recover the guest."""
    text, server = vmm.text, server_of("tests.contract.debugger_to_kill")
    server.tell(f"{vmm.pid} {vmm.slot.hva} {SIZE}")
    busy, pid = server.hear()
    assert busy == "busy", (busy, pid)
    time.sleep(choose.random() * 0.3)  # any moment
    os.kill(int(pid), signal.SIGKILL)
    assert (end := server.hear()) == ["ended", str(-signal.SIGKILL)], end
    recover(vmm.process)
    assert vmm.text == text, "a breakpoint is left in the guest"
    assert not Journal.exists(vmm.process), "the journal is left"
