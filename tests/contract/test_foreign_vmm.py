"""A VMM without a stub: attached to, let go, killed, and its debugger killed."""

import errno
import mmap
import os
import random
import signal
import sys
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from gdbstub.aarch64.registers import PC, VBAR_EL1, X
from gdbstub.debug.placement import Preference
from gdbstub.errors import InputError, MachineError, MemoryFault
from gdbstub.foreign import launch, ptrace
from gdbstub.foreign.attach import attached, launched, recover
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.machine import ForeignMachine
from gdbstub.foreign.patches import Patch
from gdbstub.foreign.process import VmmProcess, choose
from gdbstub.machine import DebugExit, RunFailure, RunMode, SystemEvent, SystemEventKind
from gdbstub.target import Action, BreakpointKind, Resume, Signal, Stopped, StopReason
from tests.bounds import HANGS
from tests.contract.client import Client
from tests.contract.foreign_machine import foreign_machine, server_of
from tests.contract.foreign_vmm import Vmm, attach_and_detach, kill_a_debugger
from tests.contract.programs import BASE, COUNT, SYNC_EL1H, VECTORS, at
from tests.contract.recorder import StopRecorder
from tests.contract.run_control import ADDS_AND_STORES

pytestmark = pytest.mark.own_kvm

#: A VMM that makes one thread after another, and whose vCPU's executes another program at SIGUSR1.
#: Its guest has no RAM.
EXECUTES = """\
import fcntl, os, signal, sys, threading
vm = fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), 0xAE01, 0)
vcpu = fcntl.ioctl(vm, 0xAE41, 0)
init = bytearray(32)
fcntl.ioctl(vm, 0x8020AEAF, init)  # KVM_ARM_PREFERRED_TARGET
fcntl.ioctl(vcpu, 0x4020AEAE, init)  # KVM_ARM_VCPU_INIT
over = threading.Event()
def spawn():
    while not over.is_set():
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
signal.signal(signal.SIGUSR2, lambda *_: None)
threading.Thread(target=spawn, daemon=True).start()
def run():
    while not over.is_set():
        try:
            fcntl.ioctl(vcpu, 0xAE80, 0)
        except InterruptedError:
            pass
    os.execv(sys.executable, [sys.executable, "-Sc", "import signal; signal.pause()"])
thread = threading.Thread(target=run)
thread.start()
signal.sigwait([signal.SIGUSR1])
over.set()
while True:  # until this thread ends, with all others: one signal may come right before KVM_RUN
    signal.pthread_kill(thread.ident, signal.SIGUSR2)
    thread.join(0.1)
"""


def test_attaching_leaves_no_trace(vmm: Vmm) -> None:
    before = vmm.traces()
    for _ in range(3):
        attach_and_detach(vmm)
    assert vmm.traces() == before
    assert vmm.counts_on()
    assert not Journal.exists(vmm.process)


def test_a_guest_whose_ram_is_not_known(vmm: Vmm) -> None:
    """Comparators, steps and Ctrl-C work, and nothing is said of memory that was not seen."""
    text = vmm.text
    with attached(vmm.process, [vmm.slot]) as machine:
        machine.use((), "nobody knows", "nobody knows")
        client = Client(machine, Preference.AUTO)
        machine.vcpus[0].set(VBAR_EL1, at(0))
        machine.vcpus[0].set(PC, at(1))
        client.target.insert(1, BreakpointKind.HARDWARE, at(0), 4)
        for _ in range(2):
            assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
            client.step_over(1, BreakpointKind.HARDWARE, at(0), 4)
            assert client.pc(1) == at(1)
        client.target.remove(1, BreakpointKind.HARDWARE, at(0), 4)
        with pytest.raises(MemoryFault, match="RAM is not known: nobody knows"):
            machine.read_memory(BASE, 4)
        machine.vcpus[0].set(PC, SYNC_EL1H)  # a fault, whose vector the stub cannot look for
        client.target.resume(Resume({1: Action.CONTINUE}))
        client.target.interrupt()
        assert client.wait() == Stopped(1, Signal.INT)
        machine.vcpus[0].set(PC, at(0))
    assert vmm.text == text
    assert vmm.counts_on()


def test_a_guest_of_whose_ram_a_part_is_known(vmm: Vmm) -> None:
    """Exception vectors in another one are not taken for missing."""
    text = vmm.text
    code = bytes.fromhex("010000d4 00000014")  # svc #0, b .
    handler = bytes.fromhex("a5040091 e0039fd6")  # add x5, x5, #1; eret
    with attached(vmm.process, [vmm.slot]) as machine:
        machine.write_memory(at(16), code)
        machine.write_memory(SYNC_EL1H, handler)
    with attached(vmm.process, [vmm.slot._replace(size=4096)]) as machine:
        client, vcpu = Client(machine), machine.vcpus[0]
        vcpu.set(VBAR_EL1, VECTORS)
        vcpu.set(X[5], 0)
        vcpu.set(PC, at(16))
        client.target.insert(1, BreakpointKind.HARDWARE, at(17), 4)
        assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
        assert (client.pc(1), client.x(1, 5)) == (at(17), 1)
        vcpu.set(PC, at(0))
    with attached(vmm.process, [vmm.slot]) as machine:
        machine.write_memory(at(16), bytes(len(code)))
        machine.write_memory(SYNC_EL1H, bytes(len(handler)))
    assert vmm.text == text
    assert vmm.counts_on()


def test_let_go_while_it_runs_with_a_breakpoint_in_it(vmm: Vmm) -> None:
    text = vmm.text
    with attached(vmm.process, [vmm.slot]) as machine:
        client = Client(machine)
        client.target.insert(1, BreakpointKind.SOFTWARE, at(20), 4)  # where it does not come
        client.target.insert(1, BreakpointKind.HARDWARE, at(30), 4)
        client.target.resume(Resume({1: Action.CONTINUE}))
    assert vmm.text == text
    assert vmm.counts_on()


def test_a_killed_debugger_is_recovered_from(vmm: Vmm) -> None:
    choose = random.Random(1)
    for _ in range(2):
        kill_a_debugger(vmm, choose)
    assert vmm.counts_on()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_debugger_that_is_killed_in_the_step_of_a_plain_store(moment: str) -> None:
    """The store is exclusive again, and has been executed once, or not at all."""
    vmm = Vmm(ADDS_AND_STORES, {0: at(200), 2: 1, 3: at(202), 4: 0})
    server = server_of("tests.contract.debugger_to_kill")
    server.tell(f"{vmm.pid} {vmm.slot.hva} {vmm.slot.size} 010000b9 {moment}")
    assert server.hear()[0] == "busy"
    assert server.hear() == ["ended", str(-signal.SIGKILL)]
    text = ADDS_AND_STORES.image
    assert vmm.text[: len(text)] != text
    assert recover(vmm.process) == 2  # the breakpoint is the other
    assert vmm.text[: len(text)] == text
    with attached(vmm.process, [vmm.slot]) as machine:
        client = Client(machine)
        client.target.insert(1, BreakpointKind.HARDWARE, at(6), 4)
        for _ in range(2):
            assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
            stored = int.from_bytes(machine.read_memory(at(200), 4), "little")
            assert stored == client.x(1, 4) > 0
    os.kill(vmm.pid, signal.SIGKILL)


def test_the_next_attach_recovers(vmm: Vmm) -> None:
    text = vmm.text
    journal = Journal(vmm.process)
    journal.begin((vmm.slot,), ())
    journal.patched(at(20), Patch(text[80:84]))  # where it does not come
    journal.close()
    with open(f"/proc/{vmm.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(vmm.slot.hva + 80)
        memory.write(bytes.fromhex("20b721d4"))  # our BRK
    assert vmm.text != text
    with attached(vmm.process, [vmm.slot]):
        assert vmm.text == text
    assert vmm.counts_on()


def test_a_page_that_a_killed_debugger_has_left_executable(vmm: Vmm) -> None:
    """A debugger may be killed between the two calls that have KVM map a page anew."""
    before = vmm.traces()
    with attached(vmm.process, [vmm.slot]) as machine:
        areas = machine._attachment.areas
        executable = areas[0].protection | mmap.PROT_EXEC
        machine._tracer.call(
            lambda: machine.port.syscall(ptrace.MPROTECT, vmm.slot.hva, 4096, executable)
        )
    assert vmm.traces() != before
    with Journal(vmm.process) as journal:
        journal.begin((vmm.slot,), areas)
    recover(vmm.process)
    assert vmm.traces() == before


def test_nothing_to_recover(vmm: Vmm) -> None:
    with pytest.raises(InputError, match=rf"^nothing is left of a debugger in process {vmm.pid}"):
        recover(vmm.process)


def test_one_debugger_at_a_time(vmm: Vmm) -> None:
    with (
        attached(vmm.process, [vmm.slot]),
        pytest.raises(InputError, match=r"is being debugged by another|is traced by process"),
        attached(vmm.process, [vmm.slot]),
    ):
        pass
    assert vmm.counts_on()


def test_two_guests_at_once() -> None:
    with (
        closing(foreign_machine(COUNT.image)) as one,
        closing(foreign_machine(COUNT.image)) as other,
    ):
        first, second = StopRecorder(one), StopRecorder(other)
        for _ in range(5):
            first.step()
        second.step()
        assert (one.vcpus[0].get(X[0]), other.vcpus[0].get(X[0])) == (3, 1)


def test_descriptors_that_cannot_be_copied(vmm: Vmm, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _fd: int) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(ptrace, "pidfd_getfd", refuse)
    with (
        pytest.raises(InputError, match=r"^descriptor \d+ of .* cannot be copied: Operation not"),
        attached(vmm.process, [vmm.slot]),
    ):
        pass
    monkeypatch.undo()
    assert vmm.counts_on()


def test_signals_reach_the_vmm(vmm: Vmm) -> None:
    """SIGUSR1 kicks our VMM's vCPUs: they come out of KVM_RUN and go back."""
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder = StopRecorder(machine)
        for _ in range(3):
            for tid in vmm.process.threads()[1:]:
                os.kill(tid, signal.SIGUSR1)
            recorder.step()
    assert vmm.counts_on()


def test_a_stop_that_cannot_be_handled(vmm: Vmm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is told, and the VMM goes on."""
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder, thread = StopRecorder(machine), machine.vcpus[0].thread

        def fail(_status: int) -> None:
            monkeypatch.undo()
            raise KeyError("x")

        monkeypatch.setattr(thread, "handle", fail)
        machine.resume({0: RunMode()})
        machine.interrupt()
        assert recorder.wait() == (RunFailure(0, "internal error: KeyError('x')"),)
    assert vmm.counts_on()


def test_a_vmm_that_is_stopped_by_a_signal(vmm: Vmm) -> None:
    """A stopped VMM can be halted and let go, and stays stopped until it is continued."""
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder = StopRecorder(machine)
        machine.resume({0: RunMode()})
        os.kill(vmm.pid, signal.SIGSTOP)
        while vmm.process.status()["State"] != "T (stopped)":
            pass
        machine.interrupt()
        assert recorder.wait() == ()
        machine.vcpus[0].set(X[0], 0)  # the stopped thread makes the call
        machine.resume({0: RunMode()})
        machine.interrupt()
        assert recorder.wait() == ()
        assert machine.vcpus[0].get(X[0]) == 0  # stopped, whoever resumes the guest
    for tid in vmm.process.threads():
        while VmmProcess(tid).status()["State"] != "T (stopped)":
            pass  # a thread that is let go stops by itself, a moment later
    os.kill(vmm.pid, signal.SIGCONT)
    assert vmm.counts_on()


def test_a_vmm_that_is_stopped_while_its_guest_is_halted(vmm: Vmm) -> None:
    """The thread of its vCPU cannot come to KVM_RUN, and is parked where it is."""
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder = StopRecorder(machine)
        before = machine.vcpus[0].get(X[0])
        os.kill(vmm.pid, signal.SIGSTOP)
        while vmm.process.status()["State"] != "T (stopped)":
            pass
        for _ in range(2):
            machine.resume({0: RunMode()})
            machine.interrupt()
            assert recorder.wait() == ()
            assert machine.vcpus[0].get(X[0]) == before
        os.kill(vmm.pid, signal.SIGCONT)
        machine.resume({0: RunMode(step=True)})
        (exit,) = recorder.wait()
        assert isinstance(exit, DebugExit)
    assert vmm.counts_on()


def a_session_that_fails(machine: ForeignMachine) -> None:
    """A launched VMM without a thread that is left traced; in the end it is another program."""
    process, recorder, until = machine.process, StopRecorder(machine), monotonic() + HANGS
    # A thread that begins as the launch ends is traced from its birth, as its maker was.
    seen = {*process.threads()}
    before = len(seen)
    while len(seen) < before + 3:
        seen |= {*process.threads()}
        assert monotonic() < until, "no thread is made any more"
    assert process.status()["TracerPid"] == "0"
    machine.resume({0: RunMode()})
    os.kill(process.pid, signal.SIGUSR1)
    assert recorder.wait() == (SystemEvent(0, SystemEventKind.SHUTDOWN),)
    assert process.status()["TracerPid"] == "0"
    raise KeyError


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses of the VMMs whose end was waited for."""
    statuses: list[int] = []
    waitpid = os.waitpid

    def wait(pid: int, options: int) -> tuple[int, int]:
        found, status = waitpid(pid, options)
        statuses.append(status)
        return found, status

    monkeypatch.setattr(os, "waitpid", wait)
    return statuses


def test_a_launched_vmm_ends_with_a_session_that_fails(ends: list[int]) -> None:
    with pytest.raises(KeyError), launched([sys.executable, "-Sc", EXECUTES]) as machine:
        a_session_that_fails(machine)
    assert [os.WTERMSIG(status) for status in ends] == [signal.SIGTERM]


def test_a_launch_that_is_given_up(
    ends: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A VMM that runs no vCPU, as QEMU does with -S, is waited for as long as it is wanted."""
    monkeypatch.setattr(launch, "LATE", 0.0)
    looks = iter([True] * 10)
    argv = [sys.executable, "-Sc", "import signal; signal.pause()"]
    with (
        pytest.raises(MachineError, match=r"^the VMM was given up before it ran a vCPU$"),
        launched(argv, lambda: next(looks, False)),
    ):
        pass
    assert [os.WTERMSIG(status) for status in ends] == [signal.SIGTERM]
    assert caplog.text.count("the VMM has run no vCPU yet; if it has forked one that does") == 1


def test_processes_are_found_by_number_and_name(vmm: Vmm) -> None:
    assert choose(str(vmm.pid)).pid == vmm.pid
    with pytest.raises(InputError, match=r"^no process with a VM is named 'absent'"):
        choose("absent")
    with pytest.raises(InputError, match=r"^there is no process 4194303$"):
        choose("4194303")
    assert Path(f"/proc/{vmm.pid}").exists()


def test_a_process_without_a_vm_is_refused() -> None:
    with pytest.raises(InputError, match=r"has no VM with vCPUs$"), attached(VmmProcess(1)):
        pass


@pytest.mark.parametrize(
    ("argv", "status"), [([sys.executable, "-Sc", "raise SystemExit(3)"], 3), (["/absent"], 127)]
)
def test_a_launched_program_that_runs_no_guest(argv: list[str], status: int) -> None:
    expected = rf"^the VMM has ended before it ran a vCPU: exit status {status}$"
    with pytest.raises(InputError, match=expected), launched(argv):
        pass
