"""VMMs that are not as ours: one goes by ``kvm_run`` alone, makes threads and pauses its guest."""

import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from time import monotonic
from typing import NamedTuple

import pytest

from gdbstub.aarch64.registers import PC, SYSTEM_REGISTERS, X
from gdbstub.debug.placement import Service
from gdbstub.errors import MachineError, MemoryFault
from gdbstub.foreign import attachment, machine, ptrace
from gdbstub.foreign.attach import attached, launched
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import VmmProcess
from gdbstub.machine import DebugExit, RunMode, SystemEvent, SystemEventKind
from gdbstub.swbp import BRK
from gdbstub.target import Action, BreakpointKind, Resume, Signal, Stopped, StopReason
from tests.bounds import HANGS
from tests.contract.client import Client
from tests.contract.looping_vmm import SIZE
from tests.contract.programs import BASE, at
from tests.contract.recorder import StopRecorder
from tests.contract.test_false_hits import NEVER

pytestmark = pytest.mark.own_kvm

# System calls of arm64 by number, and flags of mmap(2).
TGKILL, MUNMAP, MMAP = 131, 215, 222
NEW_ANONYMOUS = 0x10_0022  # MAP_FIXED_NOREPLACE, too

#: A VMM whose guest has no RAM, and whose first thread is that of its vCPU.
FIRST = """\
import fcntl, mmap, os, signal, sys, threading
vm = fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), 0xAE01, 0)
vcpu = fcntl.ioctl(vm, 0xAE41, 0)
init = bytearray(32)
fcntl.ioctl(vm, 0x8020AEAF, init)  # KVM_ARM_PREFERRED_TARGET
fcntl.ioctl(vcpu, 0x4020AEAE, init)  # KVM_ARM_VCPU_INIT
def run():
    try:
        fcntl.ioctl(vcpu, 0xAE80, 0)
    except InterruptedError:
        pass
"""
#: Another thread executes another program at SIGUSR1.
EXECUTES = """\
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
def execute():
    signal.sigwait([signal.SIGUSR1])
    os.execv(sys.executable, [sys.executable, "-Sc", "import signal; signal.pause()"])
threading.Thread(target=execute).start()
while True:
    run()
"""
#: No interrupt controller is in KVM: it says which lines it passes on (``device_irq_level``).
PASSES_ON = """\
page, before = mmap.mmap(vcpu, mmap.PAGESIZE), bytes(8)
while True:
    run()
    if (lines := page[304:312]) != before:
        print(int.from_bytes(lines, "little"), flush=True)
        before = lines
"""


class Looping:
    """The VMM, and the process of it."""

    def __init__(self) -> None:
        argv = [sys.executable, "-m", "tests.contract.looping_vmm"]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        pid, hva = self._hear()
        self.process = VmmProcess(pid)
        self.slot = MemorySlot(BASE, SIZE, hva)

    def _hear(self) -> list[int]:
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], HANGS)[0], "the VMM says nothing"
        return [int(word) for word in self._process.stdout.readline().split()]

    def pause(self) -> None:
        """Have it take its vCPU out of KVM_RUN."""
        self._tell(signal.SIGUSR1)

    def go_on(self) -> None:
        """End the pause."""
        self._tell(signal.SIGUSR2)

    def fork(self) -> None:
        """Have the thread of each vCPU fork a process, and wait for its end."""
        self._tell(signal.SIGHUP)

    def _tell(self, signum: int) -> None:
        os.kill(self.process.pid, signum)
        assert self._hear() == [signum]

    def count(self) -> int:
        """The guest's count, by a debugger that comes and goes: the VMM loops and ends not."""
        with attached(self.process, [self.slot]) as machine:
            assert machine.vcpus[0].get(PC) in (at(0), at(1))
            return machine.vcpus[0].get(X[0])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Trial(NamedTuple):
    """A VMM, and what a test does to it."""

    vmm: Looping
    monkeypatch: pytest.MonkeyPatch
    caplog: pytest.LogCaptureFixture


@pytest.fixture(scope="module")
def vmm() -> Iterator[Looping]:
    """One for all tests, for each leaves it as it was."""
    made = Looping()
    yield made
    made.close()


def attaching_while_threads_come_and_go(trial: Trial) -> None:
    counts = [trial.vmm.count() for _ in range(3)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def the_reason_of_a_debug_exit_is_hidden_too(trial: Trial) -> None:
    with attached(trial.vmm.process, [trial.vmm.slot]) as machine:
        recorder = StopRecorder(machine)
        recorder.step()
        # Its handler runs before KVM_RUN is made again, so the VMM takes it for interrupted.
        ptrace.call(
            TGKILL, trial.vmm.process.pid, machine.vcpus[0].thread.tracee.tid, signal.SIGALRM
        )
        recorder.step()
        recorder.step()
        assert machine.counts["exits"] == {"DEBUG": 3}
    trial.vmm.count()  # it has looked at the last one's, and runs on


def a_guest_that_is_paused_cannot_be_attached_to(trial: Trial) -> None:
    trial.monkeypatch.setattr(attachment, "PARK_TIMEOUT", 0.2)
    trial.vmm.pause()
    with pytest.raises(MachineError, match=r"2 of 2 vCPUs .* paused in its VMM\? Continue it"):
        trial.vmm.count()
    trial.monkeypatch.undo()
    trial.vmm.go_on()
    trial.vmm.count()


def a_guest_that_is_paused_meanwhile(trial: Trial) -> None:
    """The guest halts when its VMM continues it; a person is told what is waited for."""
    trial.monkeypatch.setattr(machine, "LATE", 0.1)
    with attached(trial.vmm.process, [trial.vmm.slot]) as attached_machine:
        recorder = StopRecorder(attached_machine)
        attached_machine.resume({0: RunMode(), 1: RunMode()})
        trial.vmm.pause()
        attached_machine.interrupt()
        with trial.caplog.at_level(logging.WARNING, "gdbstub.foreign"):
            until = monotonic() + HANGS
            while "2 of 2 vCPUs did not come" not in trial.caplog.text:
                assert monotonic() < until
        assert recorder.nothing_more()
        trial.vmm.go_on()
        assert recorder.wait() == ()
        recorder.step()
    assert trial.caplog.text.count("paused") == 1
    trial.vmm.count()


def a_guest_that_is_paused_while_it_is_halted(trial: Trial) -> None:
    """The VMM has its pause at once, and the guest does not run, but when both let it."""
    with attached(trial.vmm.process, [trial.vmm.slot]) as attached_machine:
        recorder, vcpus = StopRecorder(attached_machine), attached_machine.vcpus
        before = [(vcpu.get(PC), vcpu.get(X[0])) for vcpu in vcpus]
        trial.vmm.pause()
        for vcpu in vcpus:  # calls are made where the VMM keeps its threads
            vcpu.set(X[1], 5)
            vcpu.forget()
            assert vcpu.get(X[1]) == 5
        trial.vmm.go_on()
        assert [(vcpu.get(PC), vcpu.get(X[0])) for vcpu in vcpus] == before
        trial.vmm.pause()  # and when they are back
        attached_machine.resume({0: RunMode(step=True)})
        assert recorder.nothing_more()
        trial.vmm.go_on()
        (exit,) = recorder.wait()
        assert isinstance(exit, DebugExit)
        assert [(vcpus[1].get(PC), vcpus[1].get(X[0]))] == before[1:]
        assert vcpus[0].get(PC) != before[0][0]
    trial.vmm.count()


def a_guest_that_is_paused_while_one_vcpu_is_halted(trial: Trial) -> None:
    """The other runs, and the VMM has its pause at once all the same."""
    with attached(trial.vmm.process, [trial.vmm.slot]) as attached_machine:
        recorder, vcpus = StopRecorder(attached_machine), attached_machine.vcpus
        before = vcpus[1].get(PC), vcpus[1].get(X[0])
        attached_machine.resume({0: RunMode()})
        for _ in range(2):
            trial.vmm.pause()
            trial.vmm.go_on()
        assert recorder.nothing_more()
        attached_machine.interrupt()
        assert recorder.wait() == ()
        assert (vcpus[1].get(PC), vcpus[1].get(X[0])) == before
    trial.vmm.count()


def a_guest_that_is_paused_while_one_vcpu_runs_alone(trial: Trial) -> None:
    """Hits whose conditions are false are passed over by one vCPU at a time, signals or not."""
    with attached(trial.vmm.process, [trial.vmm.slot]) as attached_machine:
        client = Client(attached_machine)
        before = [client.x(thread, 0) for thread in client.threads]
        client.target.insert(1, BreakpointKind.SOFTWARE, at(0), 4)
        client.target.attach(BreakpointKind.SOFTWARE, at(0), NEVER)
        behind, until = set(client.threads), monotonic() + HANGS
        while behind:  # one may have had no time of the host's
            assert monotonic() < until
            client.target.resume(Resume(dict.fromkeys(client.threads, Action.CONTINUE)))
            for _ in range(2):
                trial.vmm.pause()
                trial.vmm.go_on()
            client.target.interrupt()
            assert client.wait() == Stopped(1, Signal.INT)
            after = zip(client.threads, before, strict=True)
            behind = {thread for thread, count in after if client.x(thread, 0) <= count}
    trial.vmm.count()


def a_vmm_that_forks(trial: Trial) -> None:
    """No child is traced, though its maker is, system call by system call."""
    with attached(trial.vmm.process, [trial.vmm.slot]) as attached_machine:
        client = Client(attached_machine)
        for kind in None, BreakpointKind.SOFTWARE:
            if kind:
                client.target.insert(1, kind, at(0), 4)
                client.target.attach(kind, at(0), NEVER)
            client.target.resume(Resume(dict.fromkeys(client.threads, Action.CONTINUE)))
            trial.vmm.fork()
            client.target.interrupt()
            assert client.wait() == Stopped(1, Signal.INT)
    trial.vmm.count()


def ram_that_the_vmm_maps_after_the_attach(trial: Trial) -> None:
    hva = 1 << 44
    late = MemorySlot(BASE + (1 << 30), 4096, hva)
    with attached(trial.vmm.process, [trial.vmm.slot, late]) as attached_machine:
        call = attached_machine.port.syscall
        tracer = attached_machine._tracer
        arguments = hva, 4096, 3, NEW_ANONYMOUS, -1 & (1 << 64) - 1, 0
        assert tracer.call(lambda: call(MMAP, *arguments)) == hva
        attached_machine.write_memory(late.ipa, b"late")
        assert attached_machine.read_memory(late.ipa, 4) == b"late"
    trial.vmm.count()


def ram_that_the_vmm_unmaps_with_a_breakpoint_in_it(trial: Trial) -> None:
    """A line says that it is left there; the rest of the guest is as before."""
    late = MemorySlot(BASE + (2 << 30), 4096, 2 << 44)
    with attached(trial.vmm.process, [trial.vmm.slot, late]) as attached_machine:
        call, tracer = attached_machine.port.syscall, attached_machine._tracer
        arguments = late.hva, 4096, 3, NEW_ANONYMOUS, -1 & (1 << 64) - 1, 0
        assert tracer.call(lambda: call(MMAP, *arguments)) == late.hva
        for ipa in late.ipa, at(0):
            attached_machine.write_memory(ipa, BRK)
        assert tracer.call(lambda: call(MUNMAP, late.hva, 4096)) == 0
        with pytest.raises(MemoryFault, match="cannot be read"):
            attached_machine.read_memory(late.ipa, 4)
    left = f"the patch at physical {late.ipa:#x} is left in the guest: the VMM's memory behind"
    assert trial.caplog.text.count("is left in the guest") == trial.caplog.text.count(left) == 1
    trial.vmm.count()


def code_in_rom(trial: Trial) -> None:
    """A breakpoint there is a comparator's, and nothing is written, though the VMM could."""
    rom = trial.vmm.slot._replace(rom=True)
    with attached(trial.vmm.process, [rom]) as attached_machine:
        client = Client(attached_machine)
        code = attached_machine.read_memory(BASE, 8)
        client.target.insert(1, BreakpointKind.SOFTWARE, at(0), 4)
        stop = client.go()
        assert (stop.stop, client.pc(stop.thread)) == (StopReason.SWBREAK, at(0))
        served = client.target.breakpoints.served(at(0))
        assert (served.service, served.why) == (Service.COMPARATOR, "ROM")
        assert attached_machine.read_memory(BASE, 8) == code
        with pytest.raises(MemoryFault, match=f"the guest's memory at {BASE:#x} is ROM"):
            attached_machine.write_memory(BASE, code)
    trial.vmm.count()


def a_vmm_that_another_thread_than_the_first_executes(_trial: Trial) -> None:
    """No end of the first thread is told, which is the vCPU's."""
    with launched([sys.executable, "-Sc", FIRST + EXECUTES]) as attached_machine:
        recorder, process = StopRecorder(attached_machine), attached_machine.process
        attached_machine.resume({0: RunMode()})
        os.kill(process.pid, signal.SIGUSR1)
        assert recorder.wait() == (SystemEvent(0, SystemEventKind.SHUTDOWN),)
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)


def a_vmm_that_passes_on_the_lines_of_its_vcpu(_trial: Trial) -> None:
    """A line that is raised as the guest is halted is told the VMM when it goes on."""
    argv = [sys.executable, "-Sc", FIRST + PASSES_ON]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        vmm = VmmProcess(process.pid)
        while not vmm.descriptors().vcpus:
            pass
        assert process.stdout is not None
        with attached(vmm) as attached_machine:
            recorder, tracer = StopRecorder(attached_machine), attached_machine._tracer
            attached_machine.vcpus[0].set(SYSTEM_REGISTERS["CNTV_CVAL_EL0"], 0)
            attached_machine.vcpus[0].set(SYSTEM_REGISTERS["CNTV_CTL_EL0"], 1)

            def halt_at_once() -> None:
                attached_machine.resume({0: RunMode(step=True)})
                attached_machine.interrupt()

            tracer.call(halt_at_once)
            assert recorder.wait() == ()
            attached_machine.resume({0: RunMode()})
            assert select.select([process.stdout], [], [], HANGS)[0], "the VMM says nothing"
            assert process.stdout.readline() == b"1\n"
            attached_machine.interrupt()
            assert recorder.wait() == ()
        process.kill()


def a_vmm_that_is_killed_while_a_vcpu_waits_for_its_turn(_trial: Trial) -> None:
    """No exit is told after its end."""
    vmm = Looping()
    with attached(vmm.process, [vmm.slot]) as attached_machine:
        recorder = StopRecorder(attached_machine)

        def kill(exit: DebugExit) -> RunMode:
            assert attached_machine.start_exclusive(exit.vcpu)
            os.kill(vmm.process.pid, signal.SIGKILL)
            other = attached_machine.vcpus[1 - exit.vcpu].thread
            attached_machine._pump_until(lambda: other.ended)
            return RunMode()

        recorder.decide = kill
        exits = recorder.run({0: True, 1: True})
        assert {*exits} == {SystemEvent(number, SystemEventKind.SHUTDOWN) for number in range(2)}
    assert recorder.nothing_more()
    assert len(recorder.debug_exits) == 1
    vmm.close()


#: In long runs all; the first one else, which only a VMM shows.
TESTS: tuple[Callable[[Trial], None], ...] = (
    a_guest_that_is_paused_while_one_vcpu_runs_alone,
    attaching_while_threads_come_and_go,
    the_reason_of_a_debug_exit_is_hidden_too,
    a_guest_that_is_paused_cannot_be_attached_to,
    a_guest_that_is_paused_meanwhile,
    a_guest_that_is_paused_while_it_is_halted,
    a_guest_that_is_paused_while_one_vcpu_is_halted,
    code_in_rom,
    ram_that_the_vmm_maps_after_the_attach,
    ram_that_the_vmm_unmaps_with_a_breakpoint_in_it,
    a_vmm_that_forks,
    a_vmm_that_another_thread_than_the_first_executes,
    a_vmm_that_passes_on_the_lines_of_its_vcpu,
    a_vmm_that_is_killed_while_a_vcpu_waits_for_its_turn,
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "test" in metafunc.fixturenames:
        tests = TESTS if metafunc.config.getoption("--long") else TESTS[:1]
        metafunc.parametrize("test", tests, ids=[each.__name__ for each in tests])


def test_a_vmm_that_loops(
    vmm: Looping,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    test: Callable[[Trial], None],
) -> None:
    test(Trial(vmm, monkeypatch, caplog))
