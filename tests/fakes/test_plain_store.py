"""A store-exclusive that is stepped as a plain store, where an exception follows it."""

from contextlib import suppress

from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, SPSR_EL1, VBAR_EL1, X
from gdbstub.aarch64.sysreg import EC, ESR
from gdbstub.machine import DebugExit
from tests.contract.client import Client
from tests.contract.programs import BASE, DATA, at
from tests.contract.run_control import ADDS_ONCE
from tests.fakes.machine import fake_machine


def test_the_status_of_a_store_that_was_made_stays_when_an_serror_follows_it() -> None:
    machine = fake_machine(ADDS_ONCE.image)
    client = Client(machine)
    vcpu = machine.vcpus[0]
    step_over = client.target._control._plans[0]._step_over
    exclusive, plain = 0x88027C01, 0xB9000001  # stxr w2, w1, [x0]; str w1, [x0]
    machine.write_memory(at(3), exclusive.to_bytes(4, "little"))
    vcpu.set(PC, at(3))
    vcpu.set(X[0], DATA)
    vcpu.set(X[2], 1)  # the status of a try before
    vcpu.set(CPSR, 0x005)
    vcpu.set(VBAR_EL1, BASE + 0x10000)
    plan = step_over._store(exclusive, plain)
    next(plan)
    assert machine.read_memory(at(3), 4) == plain.to_bytes(4, "little")
    # The store is made, then the CPU takes an SError: it returns to the next instruction.
    vcpu.set(ELR_EL1, at(4))
    vcpu.set(SPSR_EL1, 0x005)
    vcpu.set(PC, BASE + 0x10000 + 0x380)
    vcpu.set(CPSR, 0x3C5)
    with suppress(StopIteration):
        plan.send(DebugExit(0, ESR.of(EC=EC.STEP_LOWER, IL=1)))
    status = vcpu.get(X[2])
    machine.close()
    assert status == 0, "the guest would store again"
