"""Processes of VMMs as /proc shows them: their threads, VMs and files."""

import os
import threading
from pathlib import Path

import pytest

from gdbstub.cli.commands.vms import vms
from gdbstub.errors import InputError
from gdbstub.foreign import permission, ptrace, slots
from gdbstub.foreign.permission import Credentials
from gdbstub.foreign.process import Descriptors, VmmProcess
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


@pytest.mark.parametrize("name", ["/run/qmp", "//run/qmp"])
def test_a_file_is_in_the_process_s_own_root(name: str) -> None:
    process = VmmProcess(PID)
    assert process.file(name) == process.path / "root/run/qmp"
    assert process.file("qmp") == process.path / "cwd/qmp"


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
    process = VmmProcess(os.getpid())
    monkeypatch.setattr(permission, "check", lambda _: 0)
    monkeypatch.setattr(slots, "candidates", lambda _: iter(()))
    monkeypatch.setattr(
        "gdbstub.foreign.process.processes_with_vms", lambda: iter(((process, found),))
    )
    assert vms.main([], standalone_mode=False) == 0
    assert f"no: process {process.pid} ({process.name}) {why}" in capsys.readouterr().out
