"""The simulated effect of a few instructions, compared with an emulator."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.aarch64.registers import CPSR, PC, SP_EL1, X
from gdbstub.aarch64.simulation import Effect, effect
from gdbstub.aarch64.sysreg import PSTATE
from tests.fakes.assembler import assemble
from tests.fakes.machine import FakeMachine, fake_machine
from tests.fakes.ram import BASE
from tests.fakes.vcpu import FakeVcpu

AT = BASE + 0x1000
CONDITIONS = [
    "eq",
    "ne",
    "cs",
    "cc",
    "mi",
    "pl",
    "vs",
    "vc",
    "hi",
    "ls",
    "ge",
    "lt",
    "gt",
    "le",
    "al",
    "nv",
]
INSTRUCTIONS = [
    "b . + 8", "b . - 64",
    *(f"b.{condition} . + 32" for condition in CONDITIONS),
    *(f"{op} {r}, . - 12" for op in ("cbz", "cbnz") for r in ("x0", "w0", "x4", "xzr", "w5")),
    *(f"{op} {r}, #{bit}, . + 20" for op in ("tbz", "tbnz")
      for r, bit in (("w0", 0), ("x0", 63), ("x4", 32), ("w4", 31), ("xzr", 5))),
    "adr x1, . + 4", "adr x1, . - 3", "adr xzr, .", "adrp x1, . + 0x3000", "adrp x30, . - 0x3000",
    "add x1, x0, #1", "add w1, w0, #4095", "add x1, x0, #1, lsl #12", "sub x1, x0, #16",
    "sub w1, w5, #16", "add sp, sp, #32", "sub sp, sp, #64", "mov x29, sp", "mov sp, x3",
    "mov x1, #7", "mov w1, #-1", "mov x1, #-2", "movz x1, #5, lsl #48", "movn x1, #5, lsl #32",
    "movk x4, #0x1234, lsl #16", "movk w4, #0x1234", "movk x4, #1, lsl #48", "mov xzr, x1",
    "mov x1, x4", "mov w1, w4", "mov x1, xzr", "mov xzr, x4",
]  # fmt: skip
#: By number; 31 is the stack pointer.
VALUES = {0: 0, 3: AT + 0x40, 4: 0xFEDC_BA98_8000_0001, 5: 1 << 32, 30: AT + 0x80, 31: BASE + 0x800}


ROWS = (*X, SP_EL1)


@pytest.fixture(scope="module")
def machine() -> Iterator[FakeMachine]:
    made = fake_machine(bytes(0x4000))
    yield made
    made.close()


def word_of(text: str) -> int:
    return int.from_bytes(assemble(f".arch armv8.5-a\n{text}")[:4], "little")


@pytest.mark.parametrize("text", INSTRUCTIONS)
def test_the_effect_is_that_of_execution(machine: FakeMachine, text: str) -> None:
    word = word_of(text)
    machine.write_memory(AT, word.to_bytes(4, "little"))
    for nzcv in range(16) if text.startswith("b.") else (0, 15):
        compare(machine.vcpus[0], word, nzcv)


def compare(vcpu: FakeVcpu, word: int, nzcv: int) -> None:
    for number in range(31):
        vcpu.set(X[number], VALUES.get(number, 0x1111 * number))
    vcpu.set(SP_EL1, VALUES[31])
    vcpu.set(PC, AT)
    vcpu.set(CPSR, 0x3C5 | nzcv << 28)
    expected = [vcpu.get(row) for row in ROWS]
    found = effect(word, AT, PSTATE(vcpu.get(CPSR)), expected.__getitem__)
    assert found is not None
    if found.register is not None:
        expected[found.register] = found.value
    assert vcpu.turn(step=True) is not None
    assert [vcpu.get(row) for row in ROWS] == expected
    assert (vcpu.get(PC), vcpu.get(CPSR) >> 28) == (found.pc, nzcv)


@pytest.mark.parametrize(
    "text",
    ["ldr x0, [x1]", "adds x0, x1, #1", "br x3", "blr x3", "bl . + 8", "ret", "svc #0",
     "msr daifset, #2", "nop", "orr x0, x1, x2", "orr x0, xzr, x2, lsl #1", "retaa", "eret",
     "hlt #0", "udf #0"],
)  # fmt: skip
def test_what_is_not_known_is_none(text: str) -> None:
    assert effect(word_of(text), AT, PSTATE(0x3C5), lambda _: AT) is None


def test_a_branch_out_of_where_addresses_are_may_be_an_exception() -> None:
    assert effect(word_of("b . - 8"), 4, PSTATE(0x3C5), lambda _: 0) == Effect((1 << 64) - 4)
    assert effect(word_of("b . + 8"), (1 << 55) - 4, PSTATE(0x3C5), lambda _: 0) is None


@pytest.mark.parametrize("pstate", [PSTATE(0x3C5).replace(BTYPE=1), PSTATE(0x3C5).replace(IL=1)])
def test_nothing_is_known_of_a_state_in_which_it_might_be_an_exception(pstate: PSTATE) -> None:
    assert effect(word_of("b . + 8"), AT, pstate, lambda _: 0) is None


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**62 - 1).map(lambda n: 4 * n % 2**48))
def test_any_word_at_any_place_has_an_effect_in_range_or_none(word: int, pc: int) -> None:
    found = effect(word, pc, PSTATE(0x3C5), lambda number: 0xFFFF_FFFF_FFFF_FFFC)
    assert found is None or (
        0 <= found.pc < 1 << 64 and found.pc % 4 == 0 and 0 <= found.value < 1 << 64
    )
