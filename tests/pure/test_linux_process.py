"""The process that breakpoints belong to, by the tables that a vCPU is in; the guest is forged."""

from types import SimpleNamespace
from typing import Any

import pytest

from gdbstub.aarch64.registers import TTBR0_EL1
from gdbstub.errors import NotFound
from gdbstub.linux import btf
from gdbstub.linux.process import Process
from tests.pure.linux_images import btf_of
from tests.pure.test_linux_backtrace import IMAGE, LEADER, MEMBERS, STRUCTURES, THREAD, Kernel

MM = IMAGE + 0x7000
PGD = 0xFFFF_0000_4000_0000
TABLE = 0x8000_0000
STRUCTURE = STRUCTURES | {"an": (512, {"task_size": 40, "pgd": 48})}


class Seen:
    """Stand-in for a machine, for ``Process``: a guest whose first process has tables."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def process(self, wanted: str) -> Process:
        nothing: Any = None
        process = Process(nothing, nothing, wanted)
        kernel: Any = self.kernel
        guest: Any = SimpleNamespace(
            tasks=kernel.tasks(),
            reader=kernel.reader,
            info=None,
            linear_map=lambda _: [(range(PGD - 0x1000, PGD + 0x1000), TABLE - 0x1000)],
        )
        process._guest = guest
        return process


def kernel() -> Kernel:
    found = Kernel()
    forged = btf_of(STRUCTURE)
    found.image[: len(forged)] = forged
    found.put(LEADER + MEMBERS["mm"], "<Q", MM)
    found.put(MM + 48, "<Q", PGD)
    return found


def vcpu(table: int) -> Any:  # noqa: ANN401 - a stand-in
    return SimpleNamespace(get={TTBR0_EL1: table}.__getitem__)


@pytest.mark.parametrize("wanted", ["prog", "1"])
def test_it_is_known_by_its_tables(wanted: str) -> None:
    process = Seen(kernel()).process(wanted)
    assert process.matches(vcpu(TABLE))
    assert process.matches(vcpu(TABLE | 5 << 48 | 1))  # its ASID, and CnP
    assert not process.matches(vcpu(TABLE + 0x1000))


@pytest.mark.parametrize("wanted", ["other", "2", "swapper", "0"])
def test_others_are_others(wanted: str) -> None:
    assert not Seen(kernel()).process(wanted).matches(vcpu(TABLE))


def test_a_process_whose_first_thread_has_ended() -> None:
    """A zombie has no memory; its threads that go on have that of the process."""
    found = kernel()
    found.put(LEADER + MEMBERS["mm"], "<Q", 0)
    found.put(THREAD + MEMBERS["mm"], "<Q", MM)
    assert Seen(found).process("prog").matches(vcpu(TABLE))
    assert not Seen(found).process("prog").matches(vcpu(TABLE + 0x1000))


def test_a_damaged_process_is_none() -> None:
    damaged = kernel()
    damaged.put(LEADER + MEMBERS["mm"], "<Q", 8)
    assert not Seen(damaged).process("prog").matches(vcpu(TABLE))


def test_before_there_is_a_kernel_all_are_it() -> None:
    process = Seen(kernel()).process("prog")

    class Nothing:
        @property
        def tasks(self) -> None:
            raise NotFound("no kernel")

    nothing: Any = Nothing()
    process._guest = nothing
    assert process.matches(vcpu(TABLE))


def test_a_structure_without_a_name_is_found_by_two_members() -> None:
    found = btf.find(btf_of({"an": (512, {"one": 8, "task_size": 40, "pgd": 48, "two": 56})}))
    assert found.beside("pgd", "task_size") == 48
    with pytest.raises(NotFound, match="no structure with two and pgd"):
        found.beside("pgd", "two")
