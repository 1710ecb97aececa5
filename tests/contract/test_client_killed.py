"""A client that is killed at each packet of a session: nothing of it is left in the guest."""

import queue
from typing import Final

import pytest

from gdbstub import rsp
from gdbstub.debug.debugger import Debugger
from gdbstub.debug.placement import Preference
from gdbstub.debug.run_state import RunState
from gdbstub.protocol.session import Session
from gdbstub.swbp import BRK
from tests.bounds import HANGS
from tests.contract.conftest import Start
from tests.contract.programs import STRAIGHT, at

#: GDB's packets for breakpoints, a condition that is false, a watchpoint, steps and a range.
PACKETS: Final = tuple(
    packet.format(*map(at, range(8)), pc=at(0).to_bytes(8, "little").hex()).encode()
    for packet in (
        "qSupported:swbreak+;hwbreak+;error-message+", "QStartNoAckMode", "Hg0", "P20={pc}", "?",
        "Z0,{1:x},4", "Z1,{2:x},4", "Z2,{7:x},8", "vCont;c", "g", "m{0:x},14", "vCont;s:1",
        "Z0,{3:x},4;X3,220027", "M{1:x},4:00040091", "vCont;r{2:x},{3:x}:1", "vCont;c", "^C",
        "P20={pc}", "z1,{2:x},4", "vCont;c", "vCont;c", "^C", "qCRC:{0:x},14",
    )
)  # fmt: skip


class Server:
    """A session of the server, as far as the guest sees it."""

    def __init__(self, target: Debugger) -> None:
        self.target = target
        self._notified: queue.Queue[None] = queue.Queue()
        target.notify = lambda: self._notified.put(None)
        self.session = Session(target)

    def send(self, packet: bytes) -> None:
        """Hand a packet over; a resume is waited for if the next one is not ^C."""
        self.session.receive(b"\x03" if packet == b"^C" else rsp.encode(packet))
        while self.session.busy:
            self.session.advance()

    def settle(self) -> None:
        """Handle stops until the target is at rest, or runs without a client."""
        while self.target.running and self.target.state is not RunState.DETACHED:
            self._notified.get(timeout=HANGS)
            self.session.target_stopped()
            if not self.session.over:
                continue
            self.target.take_report()


@pytest.mark.parametrize("prefer", [Preference.SOFTWARE, Preference.HARDWARE])
def test_nothing_is_left_of_a_client_killed_at_any_packet(start: Start, prefer: Preference) -> None:
    machine = start(STRAIGHT).machine
    target = Debugger(machine)
    target.breakpoints.preference = prefer
    for count in range(1, len(PACKETS) + 1):
        for cut in (False, True):
            server = Server(target)
            server.settle()
            for packet, following in zip(PACKETS[:count], (*PACKETS[1:count], b""), strict=True):
                server.send(packet)
                if following != b"^C" and following:
                    server.settle()
            if cut:
                server.session.receive(b"$Z0,40000004")
            server.session.close()
            server.settle()
            image = machine.read_memory(at(0), len(STRAIGHT.image))
            assert BRK not in (image[i : i + 4] for i in range(0, len(image), 4)), count
            assert not target.breakpoints._requests, count
