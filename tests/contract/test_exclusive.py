"""One vCPU has the guest for itself for a while (``Machine.start_exclusive``)."""

from gdbstub.aarch64.registers import PC
from gdbstub.machine import DebugExit, DebugRegisters, RunMode
from tests.contract.conftest import Start
from tests.contract.laps import begin, first
from tests.contract.programs import DATA, LAP_VCPUS
from tests.contract.recorder import StopRecorder

BRK = (0xD4200020).to_bytes(4, "little")
LOOKS = 300


def _laps(start: Start, *broken: int) -> StopRecorder:
    """All vCPUs going round, with a BRK at the start of these threads' laps."""
    client = begin(start)
    client.target.release()
    machine = client.machine
    for thread in broken:
        machine.write_memory(first(thread), BRK)
    machine.arm(DebugRegisters(enabled=True))
    return StopRecorder(machine)


def test_nobody_else_executes_while_one_holds(start: Start) -> None:
    recorder = _laps(start, 1)
    machine = recorder.machine
    counts: list[bytes] = []

    def start_exclusive(exit: DebugExit) -> RunMode | None:
        assert machine.start_exclusive(exit.vcpu)
        before = machine.read_memory(DATA, 8 * LAP_VCPUS)
        assert all(machine.read_memory(DATA, 8 * LAP_VCPUS) == before for _ in range(LOOKS))
        counts.append(before)
        machine.vcpus[exit.vcpu].set(PC, first(1) + 4)
        machine.end_exclusive(exit.vcpu)
        return RunMode() if len(set(counts)) < 5 else None

    recorder.decide = start_exclusive
    (exit,) = recorder.run()
    assert isinstance(exit, DebugExit), exit
    assert len(set(counts)) == 5, "they go on in between"


def test_those_who_want_to_hold_do_so_in_turn(start: Start) -> None:
    recorder = _laps(start, *range(1, LAP_VCPUS + 1))
    machine = recorder.machine
    holding: list[int] = []
    times = dict.fromkeys(range(LAP_VCPUS), 0)

    def start_exclusive(exit: DebugExit) -> RunMode | None:
        if not machine.start_exclusive(exit.vcpu):
            return RunMode()
        holding.append(exit.vcpu)
        machine.read_memory(DATA, 8)
        assert holding == [exit.vcpu]
        holding.clear()
        times[exit.vcpu] += 1
        machine.vcpus[exit.vcpu].set(PC, first(exit.vcpu + 1) + 4)
        machine.end_exclusive(exit.vcpu)
        return RunMode() if min(times.values()) < 5 else None

    recorder.decide = start_exclusive
    exits = recorder.run()
    assert all(isinstance(exit, DebugExit) for exit in exits), exits
    assert min(times.values()) >= 5


def test_a_hold_ends_when_its_vcpu_parks(start: Start) -> None:
    recorder = _laps(start, 1)
    machine = recorder.machine

    def start_exclusive(exit: DebugExit) -> RunMode | None:
        assert machine.start_exclusive(exit.vcpu)
        return None

    recorder.decide = start_exclusive
    for _ in range(3):
        recorder.run()
        machine.vcpus[0].set(PC, first(1) + 4)
