"""VMMs that confine their vCPUs' threads, or are executed by another thread than the first."""

import os
import signal
import sys

import pytest

from gdbstub.aarch64.registers import X
from gdbstub.foreign.attach import attached, launched
from gdbstub.foreign.machine import ForeignMachine
from gdbstub.machine import RunMode
from tests.contract.recorder import StopRecorder
from tests.contract.test_foreign_vmm import EXECUTES

pytestmark = pytest.mark.own_kvm

#: A seccomp filter that denies KVM_SET_GUEST_DEBUG and KVM_SET_ONE_REG, as Firecracker's does
#: (linux/Documentation/userspace-api/seccomp_filter.rst).
CONFINE = """\
import ctypes, struct
def confine(action):
    load, equal, end = 0x20, 0x15, 0x06
    filter = b"".join(struct.pack("<HBBI", *each) for each in (
        (load, 0, 0, 0), (equal, 0, 3, 29), (load, 0, 0, 24), (equal, 2, 0, 0x4208AE9B),
        (equal, 1, 0, 0x4010AEAC), (end, 0, 0, 0x7FFF0000), (end, 0, 0, action)))
    code = ctypes.create_string_buffer(filter, len(filter))
    program = struct.pack("<H6xQ", len(filter) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    assert not libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    assert not libc.prctl(22, 2, program, 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
"""
#: A thread of a program that has others executes the VMM, as those of Go do.
THREADS = """\
import os, sys, threading
for _ in range(3):
    threading.Thread(target=threading.Event().wait).start()
threading.Thread(target=os.execv, args=(sys.executable, [sys.executable, *sys.argv[1:]])).start()
"""

#: A filter's action (SECCOMP_RET_KILL_PROCESS, TRAP and ERRNO), and what executes the VMM. In long
#: runs all, the first one else.
ROWS = {
    "kill": (0x8000_0000, []),
    "trap": (0x0003_0000, []),
    "errno": (0x0005_0001, []),
    "thread": (0x8000_0000, ["-Sc", THREADS]),
}


def debug(machine: ForeignMachine) -> None:
    """Set a register, and step: whatever the guest, which has no RAM, makes of it."""
    recorder, vcpu = StopRecorder(machine), machine.vcpus[0]
    vcpu.set(X[1], 5)
    machine.resume({0: RunMode(step=True)})
    machine.interrupt()
    recorder.wait()
    assert vcpu.get(X[1]) == 5


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = list(ROWS) if metafunc.config.getoption("--long") else ["kill"]
    metafunc.parametrize(("action", "before"), [ROWS[name] for name in names], ids=names)


def test_the_filter_of_a_vmm_is_suspended(action: int, before: list[str]) -> None:
    vmm = EXECUTES.replace("def run():\n", f"def run():\n    confine({action:#x})\n")
    with launched([sys.executable, *before, "-Sc", CONFINE + vmm]) as machine:
        debug(machine)
    with attached(machine.process) as again:
        debug(again)
    os.kill(machine.process.pid, signal.SIGKILL)
    _, status = os.waitpid(machine.process.pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
