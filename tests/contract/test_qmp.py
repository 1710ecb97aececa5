"""The guest of ``--qmp``: its RAM is read while it runs, on every machine."""

import pytest

from gdbstub.cli.serving.qmp import MachineGuest
from gdbstub.errors import MemoryFault, NotFound
from gdbstub.kvm import host_memory
from gdbstub.kvm_backend import KvmMachine
from gdbstub.target import Action, BreakpointKind, Resume
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import BASE, COUNT, SPIN, at

INFO = (
    b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffff800009813000\n"
    b"NUMBER(kimage_voffset)=0xffff7fffc0000000\n"
)
PLACE = BASE + 0x10_0000


@pytest.mark.needs("layout")
def test_it_is_read_while_it_runs(start: Start) -> None:
    machine = start(SPIN).machine
    client = Client(machine)
    guest = MachineGuest(client.target, lambda ipa: None)
    assert not guest.running
    with pytest.raises(NotFound):
        guest.vmcoreinfo()
    machine.write_memory(PLACE, INFO + b"\0")
    client.target.resume(Resume({1: Action.CONTINUE}))
    assert guest.running
    assert guest.read(BASE, 4) == SPIN.image[:4]
    assert guest.vmcoreinfo() == INFO
    assert guest.vmcoreinfo() == INFO  # where it was before
    assert [PLACE in each for each in guest.ram] == [True]
    with pytest.raises(MemoryFault):
        guest.read(0x1000, 1)
    assert guest.running
    if isinstance(machine, KvmMachine):
        ram = machine.ram
        hva = ram.hva(BASE)
        assert hva
        assert host_memory.read(hva, 4) == SPIN.image[:4]
        assert ram.hva(ram.base - 1) is ram.hva(ram.base + ram.size) is None


def test_a_breakpoint_is_hidden_from_it(start: Start) -> None:
    client = Client(start(COUNT).machine)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(0), 4)
    client.go()
    guest = MachineGuest(client.target, lambda ipa: None)
    assert guest.read(BASE, len(COUNT.image)) == COUNT.image
