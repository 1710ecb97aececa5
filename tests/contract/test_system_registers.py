"""The system registers that a machine says it has: it has them, and a debugger can write them."""

import time

import pytest

from gdbstub.aarch64.registers import CNTVCT_EL0, PC, SYSTEM_REGISTERS, X
from gdbstub.debug.debugger import Debugger
from gdbstub.errors import RegisterRefused
from tests.contract.conftest import Start
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import READS_CLOCK, SPIN, at
from tests.contract.recorder import StopRecorder

#: Every machine has these.
EXPECTED = {
    *("SP_EL0", "SP_EL1", "ELR_EL1", "SPSR_EL1", "SCTLR_EL1", "TCR_EL1", "TTBR0_EL1", "TTBR1_EL1"),
    *("VBAR_EL1", "ESR_EL1", "FAR_EL1", "CPACR_EL1", "MAIR_EL1", "CONTEXTIDR_EL1", "MDSCR_EL1"),
    *("TPIDR_EL0", "TPIDRRO_EL0", "TPIDR_EL1", "MIDR_EL1", "MPIDR_EL1", "ID_AA64PFR0_EL1"),
    *("DBGBVR0_EL1", "DBGBCR0_EL1", "DBGWVR0_EL1", "DBGWCR0_EL1"),
}


def _value(debugger: Debugger, name: str) -> int:
    return int.from_bytes(debugger.read_registers(1, (SYSTEM_REGISTERS[name],)), "little")


def _write(debugger: Debugger, name: str, value: int) -> None:
    debugger.write_register(1, SYSTEM_REGISTERS[name], value.to_bytes(8, "little"))


def test_each_that_is_listed_can_be_read(start: Start) -> None:
    machine = start(SPIN, vcpus=2).machine
    assert {row.name for row in machine.system_registers} >= EXPECTED
    for vcpu in machine.vcpus:
        for row in machine.system_registers:
            assert vcpu.get(row) >> row.bits == 0, row.name


def test_they_are_in_the_order_of_their_numbers(start: Start) -> None:
    numbers = [row.number for row in start(SPIN).machine.system_registers]
    assert numbers == sorted(numbers)


def test_what_a_debugger_writes_is_there(start: Start) -> None:
    debugger = Debugger(start(SPIN).machine)
    _write(debugger, "VBAR_EL1", 0xFFFF_8000_0801_0800)
    _write(debugger, "TPIDR_EL0", 0x1122_3344_5566_7788)
    assert _value(debugger, "VBAR_EL1") == 0xFFFF_8000_0801_0800
    assert _value(debugger, "TPIDR_EL0") == 0x1122_3344_5566_7788


def test_what_identifies_the_cpu_is_written_whole_or_not_at_all(start: Start) -> None:
    """Newer kernels let some of it be written; what they leave as it was is an error."""
    debugger = Debugger(start(SPIN).machine)
    for name in "MIDR_EL1", "CTR_EL0", "CLIDR_EL1", "ID_AA64ISAR0_EL1":
        before = _value(debugger, name)
        expected = before ^ 0x10
        try:
            _write(debugger, name, expected)
        except RegisterRefused:
            expected = before
        assert _value(debugger, name) == expected


@pytest.mark.own_kvm
def test_the_counter_is_what_the_guest_will_read() -> None:
    recorder = StopRecorder(kvm_machine(READS_CLOCK.image))
    vcpu = recorder.machine.vcpus[0]
    try:
        for steps in 0, 2:
            for _ in range(steps):
                recorder.step()
            seen = vcpu.get(CNTVCT_EL0)
            time.sleep(0.1)
            assert vcpu.get(CNTVCT_EL0) == seen
        vcpu.set(CNTVCT_EL0, 1 << 40)
        assert vcpu.get(CNTVCT_EL0) == 1 << 40
        vcpu.set(PC, at(0))
        recorder.step()
        assert 0 < vcpu.get(X[1]) - (1 << 40) < 1 << 34
    finally:
        recorder.machine.close()
