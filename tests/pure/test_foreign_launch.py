"""Launches of VMMs: what their system calls say of their RAM, and of themselves.

No process is traced. ``tests/contract/test_foreign_vmm.py`` launches some.
"""

import struct
import subprocess
import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from gdbstub.foreign import launch, ptrace
from gdbstub.foreign.memory import MemorySlot
from gdbstub.kvm import abi
from tests.bounds import HANGS
from tests.pure.recorded_threads import DETACH, INTERRUPT, RecordedTracee, Stops

VM, VCPU, TID, OTHER = 5, 9, 7, 8
READONLY = 2
RAM = MemorySlot(0x4000_0000, 1 << 28, 0x7F00_0000_0000)
FLASH = MemorySlot(0, 1 << 26, 0x7E00_0000_0000)


class Region(NamedTuple):
    """A call by which a VMM makes, changes or deletes a slot."""

    slot: MemorySlot
    number: int = 0
    flags: int = 0
    result: int = 0

    def read(self, _address: int, _length: int) -> bytes:
        """Memory of the VMM: ``struct kvm_userspace_memory_region``."""
        return struct.pack("<IIQQQ", self.number, self.flags, *self.slot[:3])

    def close(self) -> None:
        pass


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> launch.Launch:
    monkeypatch.setattr(launch, "Tracer", Stops)
    monkeypatch.setattr(launch, "_child", lambda _argv: (TID, -1))
    made = launch.Launch(["vmm"])
    made._tracees[TID] = RecordedTracee(TID)
    return made


DELETED = RAM._replace(size=0)
MOVED = RAM._replace(ipa=0x8000_0000)


@pytest.mark.parametrize(
    ("regions", "slots"),
    [
        ([Region(FLASH, 1, READONLY), Region(RAM)], (FLASH._replace(rom=True), RAM)),
        ([Region(FLASH, 1, READONLY), Region(DELETED, 1), Region(RAM)], (RAM,)),
        ([Region(RAM), Region(DELETED)], ()),
        ([Region(RAM), Region(DELETED), Region(MOVED)], (MOVED,)),
        # QEMU deletes a slot that becomes read-only with the new flags, and makes it anew.
        (
            [Region(RAM), Region(DELETED, flags=READONLY), Region(RAM, flags=READONLY)],
            (RAM._replace(rom=True),),
        ),
        ([Region(RAM), Region(DELETED, result=-22)], (RAM,)),
        ([Region(RAM, result=-12)], ()),
    ],
)
def test_the_slots_that_a_vmm_has_made(
    regions: list[Region], slots: tuple[MemorySlot, ...], launched: launch.Launch
) -> None:
    entry = ptrace.SyscallStop(True, ptrace.IOCTL, (VM, abi.SET_USER_MEMORY_REGION, 0x1000))
    for region in regions:
        launched._memory = region  # type: ignore[assignment]
        assert not launched._enters_guest(TID, entry)
        assert not launched._enters_guest(TID, ptrace.SyscallStop(False, result=region.result))
    assert launched.slots == slots


def test_another_program_has_nothing_of_the_one_before(launched: launch.Launch) -> None:
    """Whichever thread executes it gets the process's number, and the others are gone."""
    launched._tracees[OTHER] = RecordedTracee(OTHER)
    launched._inside |= {OTHER}
    launched.held[VCPU] = launched._tracees[OTHER]
    launched._stopped |= {OTHER}
    launched._memory = Region(RAM)  # type: ignore[assignment]
    launched._regions[0] = RAM
    launched._executed(launched._tracees[TID])
    assert launched._tracees.keys() == {TID}
    assert (launched._inside, launched._stopped, launched.held) == (set(), set(), {})
    assert (launched.slots, launched._memory) == ((), None)


def test_a_vmm_that_is_stopped_by_a_signal(launched: launch.Launch) -> None:
    launched.held[VCPU] = launched._tracees[TID]
    launched._tracees[OTHER] = other = RecordedTracee(OTHER)
    launched._let_others_go()
    assert other.asked == [(INTERRUPT, 0), (DETACH, 0)]


def test_a_vmm_that_goes_on_as_another_process() -> None:
    assert launch._fate(0).startswith("exit status 0; one that goes on as another process")
    assert launch._fate(3 << 8) == "exit status 3"
    assert launch._fate(9) == "killed by signal 9"


def test_an_error_lets_the_threads_go_before_the_vmm_is_ended(
    launched: launch.Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that is held at KVM_RUN takes no signal: the VMM would be killed later."""
    done: list[str] = []
    monkeypatch.setattr(launched, "tracer", SimpleNamespace(close=lambda: done.append("let go")))
    monkeypatch.setattr(launch, "end_child", lambda _process: done.append("ended"))
    with pytest.raises(KeyError), launched:
        raise KeyError
    assert done == ["let go", "ended"]


def test_a_program_that_is_not_there_has_a_name_that_is_not_unicode() -> None:
    """The process is one of its own: a forked one might go on with what is after a test."""
    code = (
        "import os; from gdbstub.foreign import launch\n"
        "child, start = launch._child(['a\\udcff'])\n"
        "os.close(start); print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS, check=True
    )
    assert done.stdout == "127\n"
    assert done.stderr == "gdbstub: a\\udcff: No such file or directory\n"
