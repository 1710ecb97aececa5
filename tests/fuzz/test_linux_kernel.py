"""The kernel that the target ``linux`` patches is sound: all its readers find what there is."""

import pytest

from gdbstub.aarch64.registers import TTBR0_EL1
from gdbstub.capabilities import Command, Timing
from gdbstub.linux.process import Process
from tests.fuzz.linux import KernelGuest, debugger_of, sound_memory


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("ps", "2    0     R  -     0xffff000000111000  task"),
        ("bt 1", "#4   0xffff000000103004 ab+0x4"),
        ("bt", "#2   0xffff800070001044 first+0xfc4 [m1]"),
        ("modules m0", ".text    0xffff800070000000"),
        ("modules lldb", "--file m1.ko .text 0xffff800070000000"),
        ("dmesg", "[    0.000000] line\n"),
        ("tasks on", "and 2 tasks that no vCPU executes"),
    ],
)
def test_a_command(line: str, shown: str) -> None:
    command = Command(1, line, frozenset(), {}, Timing())
    assert shown in debugger_of(KernelGuest(sound_memory())).monitor(command)


def test_a_process() -> None:
    debugger = debugger_of(KernelGuest(sound_memory()))
    (vcpu,) = debugger.machine.vcpus
    process = Process(debugger.machine, debugger.memory, "1")
    assert process.matches(vcpu)
    vcpu.set(TTBR0_EL1, 0)
    assert not process.matches(vcpu)
