"""Text that the guest rewrites or checks, by its own word: a comparator leaves it as it is."""

import pytest

from gdbstub.aarch64.registers import TCR_EL1
from gdbstub.aarch64.sysreg import TCR
from gdbstub.debug.placement import Preference, Service
from tests.contract.backends import Factory
from tests.contract.programs import program
from tests.contract.spaces import KERNEL, KERNEL_GVA, ROUND
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
