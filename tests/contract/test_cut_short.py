"""A step that an interrupt cuts short is forgotten: the next one executes an instruction."""

from gdbstub.aarch64.registers import PC, X
from gdbstub.machine import RunMode
from tests.contract.conftest import Start
from tests.contract.programs import COUNT, at


def test_every_step_after_an_interrupted_one_makes_progress(start: Start) -> None:
    recorder = start(COUNT)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    for _ in range(100):
        machine.resume({0: RunMode(step=True)})
        machine.interrupt()
        recorder.wait()
        pc, count = vcpu.get(PC), vcpu.get(X[0])
        recorder.step()
        assert vcpu.get(PC) == (at(1) if pc == at(0) else at(0))
        assert vcpu.get(X[0]) == count + (pc == at(0))
