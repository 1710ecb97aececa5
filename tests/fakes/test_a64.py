"""The oracle of the step tests against an emulated CPU: the address after a branch."""

import itertools

import pytest

from gdbstub.aarch64.registers import CPSR, PC, X
from gdbstub.machine import DebugRegisters
from tests.contract.recorder import StopRecorder
from tests.fakes.assembler import assemble
from tests.fakes.machine import fake_machine
from tests.fakes.ram import BASE
from tests.kvm import a64

CONDITIONS = (
    *("eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc"),
    *("hi", "ls", "ge", "lt", "gt", "le", "al"),
)
BRANCHES = [
    *("b . + 16", "bl . - 4", "br x1", "blr x1", "ret x1", "nop", "mov x0, #1"),
    *(f"b.{condition} . + 8" for condition in CONDITIONS),
    *(f"{name} {register}0, . + 12" for name in ("cbz", "cbnz") for register in "wx"),
    *(f"{name} x0, #{bit}, . - 8" for name in ("tbz", "tbnz") for bit in (0, 31, 32, 63)),
]
VALUES = (0, 1, 1 << 31, 1 << 32, 1 << 63)


@pytest.mark.parametrize("text", BRANCHES)
def test_where_a_branch_goes(text: str) -> None:
    image = assemble(f"nop; nop; nop; nop; {text}; nop; nop; nop; nop; nop")
    here = BASE + 16
    word = int.from_bytes(image[16:20], "little")
    machine = fake_machine(image)
    try:
        recorder, vcpu = StopRecorder(machine), machine.vcpus[0]
        machine.arm(DebugRegisters())
        for value, nzcv in itertools.product(VALUES, range(16)):
            cpsr = nzcv << 28 | 0x3C5
            for register, content in ((X[0], value), (X[1], BASE), (CPSR, cpsr), (PC, here)):
                vcpu.set(register, content)
            expected = a64.following(here, word, cpsr, lambda n: vcpu.get(X[n]))
            recorder.step()
            assert vcpu.get(PC) == expected, (value, nzcv)
    finally:
        machine.close()
