"""The contract's factory over the guest of another process: ``plain_vmm``."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Final

from gdbstub.aarch64.registers import PC
from gdbstub.foreign.attachment import Attachment
from gdbstub.foreign.machine import ForeignMachine
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import VmmProcess
from gdbstub.kvm import abi
from gdbstub.kvm.port import ioctl
from tests.contract.programs import BASE
from tests.fakes.device import Device

_servers: Final[dict[str, "Server"]] = {}


class Server:
    """A process that forks another one for each line that it is given, and answers by lines."""

    def __init__(self, module: str) -> None:
        argv, pipe = [sys.executable, "-m", module], subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def tell(self, line: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def hear(self) -> list[str]:
        """The words of its next line."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()


def server_of(module: str) -> Server:
    """The server that *module* is, one for the whole run."""
    if module not in _servers:
        _servers[module] = Server(module)
    return _servers[module]


class Answering:
    """Answers the MMIO of one VM by *device*, on a thread of its own."""

    def __init__(self, device: Device) -> None:
        self.name = f"gdbstub-test-{os.getpid()}-{id(self)}"
        self._device = device
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"\0{self.name}")
        self._listener.listen()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        client, _ = self._listener.accept()
        with self._listener, client, client.makefile("r") as lines, contextlib.suppress(OSError):
            for line in lines:
                ipa, size, *value = map(int, line.split())
                answer = 0
                if value:
                    self._device.write(ipa, size, value[0])
                else:
                    answer = self._device.read(ipa, size)
                client.sendall(b"%d\n" % answer)


class TestedForeignMachine(ForeignMachine):
    """A foreign machine whose VMM is killed when it is closed."""

    __test__ = False

    def close(self) -> None:
        pid = self._attachment.process.pid
        super().close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start_vmm(
    program: bytes, *, vcpus: int = 1, memory: int = 2 << 20, device: Device | None = None
) -> tuple[int, int]:
    """Start a VM in a process; its pid, and the address of its RAM there."""
    server = server_of("tests.contract.plain_vmm")
    asked = {
        "program": program.hex(),
        "vcpus": vcpus,
        "memory": memory,
        "device": Answering(device).name if device else "",
    }
    server.tell(json.dumps(asked))
    pid, hva = map(int, server.hear())
    return pid, hva


def foreign_machine(
    program: bytes, *, vcpus: int = 1, memory: int = 2 << 20, device: Device | None = None
) -> TestedForeignMachine:
    pid, hva = start_vmm(program, vcpus=vcpus, memory=memory, device=device)
    attachment = Attachment(VmmProcess(pid))
    machine = TestedForeignMachine(attachment, always_traced=True)
    machine.use([MemorySlot(BASE, memory, hva)], "given")
    machine.complete = True
    machine.write_memory(BASE + memory - 4, bytes(4))
    machine.vcpus[0].set(PC, BASE)
    return machine


def pend_irq(machine: ForeignMachine, level: bool, vcpu: int = 0) -> None:
    """Have an IRQ pend at a vCPU, or pend no more: its input line, for there is no GIC."""
    line = abi.ffi.new("struct kvm_irq_level *")
    line.irq, line.level = vcpu << 16, level
    ioctl(machine.port, machine._attachment.vm, abi.IRQ_LINE, line)


def pend_serror(machine: ForeignMachine) -> None:
    """Have an SError pend at vCPU 0, once (api.rst, 4.32 KVM_SET_VCPU_EVENTS)."""
    events = abi.ffi.new("struct kvm_vcpu_events *")
    ioctl(machine.port, machine.vcpus[0].fd, abi.GET_VCPU_EVENTS, events)
    events.serror_pending = 1
    ioctl(machine.port, machine.vcpus[0].fd, abi.SET_VCPU_EVENTS, events)
