"""Text that the guest rewrites or checks, by its own word: a comparator leaves it as it is."""

import logging

import pytest

from gdbstub.aarch64.registers import ELR_EL1, TCR_EL1
from gdbstub.aarch64.sysreg import TCR
from gdbstub.debug.placement import Preference, Service
from gdbstub.swbp import BRK
from tests.contract.backends import Factory
from tests.contract.programs import program
from tests.contract.spaces import KERNEL, KERNEL_GVA, NOP, ROUND
from tests.contract.test_placement import NG, READ_ONLY, Kernel
from tests.tables import AF

ADD = (0x91000400, "add x0, x0, #1")
#: Instructions of which line 4 is replaced.
ADDS = program(*[ADD] * 7, (0x17FFFFF9, "b . - 28"))
PLACE = KERNEL_GVA + 16
DBM = 1 << 51


@pytest.fixture
def kernel(machine_factory: Factory) -> Kernel:
    """A guest in its kernel, whose text it cannot write."""
    made = Kernel(machine_factory(ROUND.image), Preference.AUTO)
    made.spaces.put(KERNEL, ADDS)
    made.map(KERNEL_GVA, KERNEL)
    made.spaces.enter(KERNEL_GVA, made.spaces.b, el=1)
    return made


@pytest.mark.parametrize(
    "word",
    [0xD4200080, 0x14000001, 0xD10103FF],
    ids=["a kprobe", "a static key that is on", "a function's first word"],
)
def test_a_word_that_the_guest_may_replace_stays(kernel: Kernel, word: int) -> None:
    data = word.to_bytes(4, "little")
    kernel.machine.write_memory(KERNEL + 16, data)
    kernel.spaces.insert(PLACE)
    kernel.spaces.stops_at(PLACE)
    assert kernel.service(PLACE) is Service.COMPARATOR
    assert kernel.spaces.word(KERNEL + 16) == data


@pytest.mark.parametrize("managed", [True, False], ids=["by hardware", "by the kernel"])
def test_a_page_that_is_clean_yet_is_writable(kernel: Kernel, managed: bool) -> None:
    """A guest with TCR_EL1.HD writes there without an exception (Arm ARM D8.5.2)."""
    vcpu = kernel.machine.vcpus[0]
    on = TCR(vcpu.get(TCR_EL1)).replace(HA=1, HD=1)
    vcpu.set(TCR_EL1, on if managed else on.replace(HD=0))
    kernel.map(KERNEL_GVA, KERNEL, AF | NG | READ_ONLY | DBM)
    kernel.spaces.enter(KERNEL_GVA, kernel.spaces.a, el=1)
    kernel.spaces.insert(PLACE)
    kernel.spaces.stops_at(PLACE)
    assert kernel.service(PLACE) is (Service.COMPARATOR if managed else Service.BRK)


@pytest.mark.parametrize(
    ("line", "service"), [(0, Service.COMPARATOR), (4, Service.BRK)], ids=["page", "text"]
)
def test_a_call_as_a_pages_first_word_may_be_ftraces(
    kernel: Kernel, line: int, service: Service
) -> None:
    """The MOV X9, X30 before it is in the page before, which is elsewhere in RAM."""
    gva, call = KERNEL_GVA + 4 * line, 0x94000001.to_bytes(4, "little")  # bl . + 4
    kernel.machine.write_memory(KERNEL + 4 * line, call)
    kernel.machine.write_memory(KERNEL - 4, ADD[0].to_bytes(4, "little"))
    kernel.spaces.enter(KERNEL_GVA + 8, kernel.spaces.b, el=1)
    kernel.spaces.insert(gva)
    kernel.spaces.stops_at(gva)
    assert kernel.service(gva) is service
    assert (kernel.spaces.word(KERNEL + 4 * line) == call) is (line == 0)


def test_what_is_in_ram_before_a_page_says_nothing_of_its_first_word(kernel: Kernel) -> None:
    kernel.machine.write_memory(KERNEL - 4, NOP)
    kernel.spaces.insert(KERNEL_GVA)
    kernel.spaces.stops_at(KERNEL_GVA)
    assert kernel.service(KERNEL_GVA) is Service.BRK


# Where the guest has got our BRK all the same.

#: ``BRK #4``, which kprobes put into text (linux/arch/arm64/include/asm/brk-imm.h).
KPROBE = 0xD4200080.to_bytes(4, "little")


def test_a_brk_of_the_guests_over_ours_stays_and_is_told(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    """The guest has read our BRK there, and may write that back one day."""
    kernel.debugger.breakpoints.preference = Preference.SOFTWARE
    kernel.spaces.insert(PLACE)
    kernel.spaces.stops_at(PLACE)
    assert kernel.spaces.word(KERNEL + 16) == BRK
    kernel.machine.write_memory(KERNEL + 16, KPROBE)
    with caplog.at_level(logging.WARNING):
        kernel.spaces.stops_at(PLACE)
    assert "0x40040010" in caplog.text
    assert "monitor break prefer hardware" in caplog.text
    kernel.spaces.remove(PLACE)
    kernel.spaces.step()
    assert kernel.spaces.word(KERNEL + 16) == KPROBE


def test_a_copy_of_our_brk_is_the_guests_and_is_told_once(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.debugger.breakpoints.preference = Preference.SOFTWARE
    kernel.spaces.insert(PLACE)
    kernel.spaces.stops_at(PLACE)
    kernel.machine.write_memory(KERNEL + 0x100, BRK)
    kernel.spaces.enter(KERNEL_GVA + 0x100, kernel.spaces.a, el=1)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            kernel.spaces.step()
            assert kernel.spaces.pc() == KERNEL_GVA + 0x800 + 0x200
            assert kernel.machine.vcpus[0].get(ELR_EL1) == KERNEL_GVA + 0x100
            kernel.spaces.enter(KERNEL_GVA + 0x100, kernel.spaces.b, el=1)
    assert caplog.text.count(f"executed BRK #0xdb9 at {KERNEL_GVA + 0x100:#x}") == 1
