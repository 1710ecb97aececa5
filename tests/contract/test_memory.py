"""RAM: bounds, and that a guest's view of it is the debugger's."""

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.debug.ram_comparison import unchanged
from gdbstub.errors import MemoryFault
from gdbstub.machine import DebugRegisters, RunMode
from tests.contract.backends import Factory
from tests.contract.conftest import Start
from tests.contract.programs import (
    ACCESSES,
    BASE,
    BREAK_THEN_SPIN,
    COUNT,
    DATA,
    ONE_THEN_BRK,
    PATCHES_ITSELF,
    SPIN,
    STRAIGHT,
    TWO,
    at,
)
from tests.contract.recorder import StopRecorder

MEMORY = 2 << 20
END = BASE + MEMORY


def test_what_was_written_is_read(start: Start) -> None:
    machine = start(SPIN).machine
    data = bytes(range(256)) * 20
    machine.write_memory(DATA + 3, data)
    assert machine.read_memory(DATA, len(data) + 6) == bytes(3) + data + bytes(3)
    assert machine.read_memory(BASE, 4) == SPIN.image


def test_ram_is_as_large_as_asked_and_reads_end_with_it(machine_factory: Factory) -> None:
    machine = machine_factory(SPIN.image, memory=MEMORY)
    machine.write_memory(END - 4, b"last")
    assert machine.read_memory(END - 6, 100) == b"\0\0last"
    assert machine.read_memory(END - 1, 1) == b"t"


@pytest.mark.parametrize("ipa", [0, BASE - 1, END, 0x900_0000, 1 << 47])
def test_there_is_no_ram_elsewhere(machine_factory: Factory, ipa: int) -> None:
    machine = machine_factory(SPIN.image, memory=MEMORY)
    with pytest.raises(MemoryFault):
        machine.read_memory(ipa, 8)
    with pytest.raises(MemoryFault):
        machine.write_memory(ipa, b"x")


def test_whether_words_are_as_they_were(machine_factory: Factory) -> None:
    machine = machine_factory(SPIN.image, memory=MEMORY)
    machine.write_memory(DATA, b"one here" + b"two here")
    machine.write_memory(END - 8, b"the last")
    places = DATA, DATA + 8, END - 8
    as_they_were = unchanged(machine, [(ipa, machine.read_memory(ipa, 8)) for ipa in places])
    assert as_they_were()
    for ipa in places:
        was = machine.read_memory(ipa + 7, 1)
        machine.write_memory(ipa + 7, b"!")
        assert not as_they_were()
        machine.write_memory(ipa + 7, was)
        assert as_they_were()
    assert unchanged(machine, ())()
    with pytest.raises(MemoryFault):
        unchanged(machine, [(END, bytes(8))])


def test_a_write_that_does_not_fit_writes_nothing(machine_factory: Factory) -> None:
    machine = machine_factory(SPIN.image, memory=MEMORY)
    with pytest.raises(MemoryFault):
        machine.write_memory(END - 4, b"too long")
    assert machine.read_memory(END - 4, 4) == bytes(4)


def test_the_guest_reads_and_writes_the_same_ram(start: Start) -> None:
    recorder = start(ACCESSES)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    machine.write_memory(DATA, bytes(range(1, 9)))
    vcpu.set(X[0], DATA)
    vcpu.set(X[2], 0x1122_3344_5566_7788)
    recorder.step()
    assert vcpu.get(X[1]) == 0x0807_0605_0403_0201
    recorder.step()
    assert machine.read_memory(DATA, 8) == bytes.fromhex("8877665544332211")


def test_code_that_has_run_and_is_written_over_runs_anew(start: Start) -> None:
    recorder = start(ONE_THEN_BRK)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    machine.arm(DebugRegisters(enabled=True))
    recorder.debug()
    assert vcpu.get(X[0]) == 1
    machine.write_memory(BASE, TWO.image)
    vcpu.set(PC, BASE)
    recorder.debug()
    assert vcpu.get(X[0]) == 2


def test_a_loop_that_runs_is_left_through_a_breakpoint_written_over_it(start: Start) -> None:
    """The way of every software breakpoint: interrupt, patch, resume."""
    recorder = start(SPIN)
    machine = recorder.machine
    machine.arm(DebugRegisters(enabled=True))
    machine.resume({0: RunMode()})
    machine.interrupt()
    assert recorder.wait() == ()
    machine.write_memory(BASE, BREAK_THEN_SPIN.image)
    assert recorder.debug().esr.comment == 1


def test_code_that_patches_itself_runs_patched(start: Start) -> None:
    recorder = start(PATCHES_ITSELF)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    machine.arm(DebugRegisters(enabled=True))
    vcpu.set(X[0], at(6))
    vcpu.set(X[1], int.from_bytes(TWO.image, "little"))
    recorder.debug()
    assert vcpu.get(X[0]) == 2


def test_a_new_machine_runs_nothing_of_an_older_ones_code(machine_factory: Factory) -> None:
    """RAM is recycled, page by page; what was executed from it must not be."""
    for _ in range(4):
        for program, pcs in ((STRAIGHT, [1, 2, 3]), (COUNT, [1, 0, 1])):
            machine = machine_factory(program.image)
            recorder = StopRecorder(machine)
            seen = []
            for _ in pcs:
                recorder.step()
                seen.append(machine.vcpus[0].get(PC))
            assert seen == [at(line) for line in pcs]
            machine.close()
