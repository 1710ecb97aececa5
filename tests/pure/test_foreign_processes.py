"""Processes of VMMs as /proc shows them: their threads, VMs and files."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdbstub.cli.commands.vms import vms
from gdbstub.errors import InputError
from gdbstub.foreign import permission, process, ptrace, slots
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.permission import Credentials
from gdbstub.foreign.process import Descriptors, VmmProcess, check_vms, choose
from tests.pure.test_foreign import STATUS

#: The greatest number that a process may have, and two that none has.
PID, TID, OTHER = 1 << 22, (1 << 22) + 1, (1 << 22) + 2


class Proc:
    """The directory of a process in /proc, as far as permission is a matter of it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.process = VmmProcess(PID)
        monkeypatch.setattr(self.process, "path", path)
        monkeypatch.setattr(permission, "check_host", lambda: None)
        monkeypatch.setattr(permission, "own", lambda: Credentials(0, -1, 0))
        (path / "comm").write_text("vmm\n")
        self._write(path, {})
        self.add(TID)

    def _write(self, place: Path, change: dict[str, str]) -> None:
        lines = [f"{name}:\t{value}\n" for name, value in {**STATUS, **change}.items()]
        (place / "status").write_text("".join(lines))

    def add(self, tid: int, **change: str) -> None:
        """Add a thread."""
        place = self.process.path / "task" / str(tid)
        place.mkdir(parents=True)
        self._write(place, change)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    return Proc(tmp_path, monkeypatch)


def test_a_thread_that_ends_meanwhile_is_not_in_the_way(proc: Proc) -> None:
    (proc.process.path / "task" / str(OTHER)).mkdir()  # its status is gone
    assert permission.check(proc.process) == 0


def test_the_filter_of_one_thread_is_suspended(proc: Proc) -> None:
    proc.add(OTHER, Seccomp="2")
    assert permission.check(proc.process) == ptrace.O_SUSPEND_SECCOMP


def test_the_filter_of_a_vmm_that_we_trace_already(
    proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VMM that was launched confines its own threads, before they run a vCPU."""
    assert permission.suspension(proc.process) == 0
    proc.add(OTHER, Seccomp="2", TracerPid=str(os.getpid()))
    assert permission.suspension(proc.process) == ptrace.O_SUSPEND_SECCOMP
    monkeypatch.setattr(permission, "own", lambda: Credentials(1000, 0, 0))
    with pytest.raises(InputError, match=r"\(vmm\) has a seccomp filter.*CAP_SYS_ADMIN"):
        permission.suspension(proc.process)


def test_the_tracer_of_one_thread_is_in_the_way(proc: Proc) -> None:
    """A gdbstub traces the threads of vCPUs alone, by a thread that is not its first."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    proc.add(OTHER, TracerPid=str(thread.native_id))
    why = rf"\(vmm\) is traced by process {os.getpid()} already; end that first"
    with pytest.raises(InputError, match=why):
        permission.check(proc.process)
    over.set()
    thread.join()


@pytest.mark.parametrize("name", [b"CPU 0/KVM", b"a) S (b", b"a\nb", b"a\r) R", b"\xff"])
def test_the_state_of_a_thread_whatever_its_name_is(proc: Proc, name: bytes) -> None:
    """The kernel escapes nothing of it in this file."""
    stat = proc.process.path / "task" / str(TID) / "stat"
    for state, sleeps in (b"S", True), (b"R", False):
        stat.write_bytes(b"%d (%s) %s 1 2 3\n" % (TID, name, state))
        assert proc.process.sleeps(TID) is sleeps
    assert proc.process.sleeps(OTHER)  # it has ended


@pytest.mark.parametrize(
    ("sent", "shared", "blocks", "found"),
    [
        (0b01, 0b00, 0b00, (0b01, 0b00)),
        (0b11, 0b00, 0b01, (0b10, 0b01)),
        (0b00, 0b11, 0b01, (0b10, 0b00)),  # another thread may take the other
        (0b00, 0b11, 0b11, (0b00, 0b00)),
    ],
)
def test_the_signals_that_are_pending_for_a_thread(
    proc: Proc, sent: int, shared: int, blocks: int, found: tuple[int, int]
) -> None:
    masks = {"SigPnd": sent, "ShdPnd": shared}
    proc.add(OTHER, **{name: f"{mask:016x}" for name, mask in masks.items()})
    assert proc.process.pending_signals(OTHER, blocks) == found
    assert proc.process.pending_signals(OTHER + 1, blocks) == (0, 0)  # it has ended


def test_a_pending_signal_of_a_thread_that_blocks_it() -> None:
    """The kernel's own account of it, of a thread of this process."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        mask = 1 << signal.SIGUSR1 - 1
        found = VmmProcess(os.getpid()).pending_signals(threading.get_native_id(), mask)
        assert found == (0, mask)
        assert signal.sigtimedwait([signal.SIGUSR1], 10)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@pytest.mark.parametrize("name", ["/run/qmp", "//run/qmp"])
def test_a_file_is_in_the_process_s_own_root(name: str) -> None:
    vmm = VmmProcess(PID)
    assert vmm.file(name) == vmm.path / "root/run/qmp"
    assert vmm.file("qmp") == vmm.path / "cwd/qmp"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Descriptors((3, 5), {0: 4}), "has 2 VMs; only a process with one can be attached to"),
        (Descriptors((3,), {}), "has no VM with vCPUs"),
    ],
)
def test_a_process_whose_vms_cannot_be_attached_to_is_listed_so(
    found: Descriptors,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    vmm = VmmProcess(os.getpid())
    monkeypatch.setattr(permission, "check", lambda _: 0)
    monkeypatch.setattr(slots, "candidates", lambda _: iter(()))
    monkeypatch.setattr("gdbstub.foreign.process.processes_with_vms", lambda: iter(((vmm, found),)))
    assert vms.main([], standalone_mode=False) == 0
    assert f"no: process {vmm.pid} ({vmm.name}) {why}" in capsys.readouterr().out


class Copies:
    """Descriptors of a process, those of ``files`` that are copies of each other."""

    def __init__(self, proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = proc.process.path / "fd"
        self._path.mkdir()
        self._files: dict[int, object] = {}
        monkeypatch.setattr(ptrace, "same_file", self._same_file)

    def add(self, fd: int, name: str, file: object) -> None:
        (self._path / str(fd)).symlink_to(f"anon_inode:{name}")
        self._files[fd] = file

    def _same_file(self, pid: int, fd: int, other: int) -> bool:
        assert pid == PID
        return self._files[fd] == self._files[other]


def test_copies_of_descriptors_are_of_one_vm(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VMM in Rust copies the descriptor of its VM for each of its parts."""
    copies = Copies(proc, monkeypatch)
    for fd in 3, 7, 12:
        copies.add(fd, "kvm-vm", "VM")
    for fd, number in (4, 0), (5, 1), (9, 0), (10, 1):
        copies.add(fd, f"kvm-vcpu:{number}", number)
    found = proc.process.descriptors()
    assert found == Descriptors((3,), {0: 4, 1: 5}, {9: 4, 10: 5})
    check_vms(proc.process, found)
    copies.add(13, "kvm-vm", "another VM")
    with pytest.raises(InputError, match="has 2 VMs; only a process with one"):
        check_vms(proc.process, proc.process.descriptors())


def test_a_name_is_that_of_the_process_with_vcpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that the VMM has forked has its VM, but runs no vCPU; one ends meanwhile."""
    with_vcpus = Descriptors((3,), {0: 4})
    vmms = [VmmProcess(os.getpid()), VmmProcess(PID)]
    monkeypatch.setattr(VmmProcess, "command_line", ["vmm", "-name", "guest"])
    found = [(VmmProcess(1), Descriptors((3,), {})), *((each, with_vcpus) for each in vmms)]
    monkeypatch.setattr(process, "processes_with_vms", lambda: iter(found))
    assert choose("guest") is vmms[0]


def test_the_number_of_a_thread_is_that_of_its_process() -> None:
    """``ps -L`` and QEMU's ``info cpus`` show such."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    assert choose(str(thread.native_id)).pid == os.getpid()
    over.set()
    thread.join()


def test_a_vmm_that_ends_meanwhile_is_not_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def candidates(vmm: VmmProcess) -> Iterator[MemorySlot]:
        if vmm.pid == PID:
            raise InputError(f"there is no process {PID}")
        yield MemorySlot(0, 5 << 20, 0)

    found = [(VmmProcess(pid), Descriptors((3,), {0: 4})) for pid in (PID, os.getpid())]
    monkeypatch.setattr(permission, "check", lambda _: 0)
    monkeypatch.setattr(slots, "candidates", candidates)
    monkeypatch.setattr(process, "processes_with_vms", lambda: iter(found))
    assert vms.main([], standalone_mode=False) == 0
    said = capsys.readouterr().out
    assert str(PID) not in said
    assert f"{os.getpid()} " in said
