"""A Linux guest that was halted for long does not know it: its clocks and watchdogs are at ease.

With ``monitor time free`` the same halt brings an RCU stall, and clocks that are 29 s ahead.
"""

import re
from pathlib import Path

import pytest

from tests.kvm import user_space
from tests.kvm.client import Client, stop_fields, stop_pc
from tests.kvm.conftest import Built
from tests.kvm.stub import Stub

pytestmark = pytest.mark.lengthy

COMPLAINTS = re.compile(r"(?im)^\[.*(soft lockup|rcu.*stall|clocksource|hung|watchdog|jump)")
MICROSECONDS = 1_000_000


def test_a_long_halt(initrd: Path, kernel: Built, long: bool, figure: list[str]) -> None:
    # The shortest that would show: the soft lockup detector looks for 20 s, RCU for 21 s.
    seconds = 60 if long else 23
    place = kernel["__arm64_sys_sethostname"]
    arguments = user_space.arguments(initrd, "halted")
    with Stub(*arguments, "--smp", "2") as stub, Client(stub) as client:
        assert client.ask(f"Z1,{place:x},4") == "OK"
        assert stop_pc(stop_fields(client.ask("vCont;c"))) == place
        assert client.ask(f"z1,{place:x},4") == "OK"
        client.expect_silence(seconds)
        assert client.ask("vCont;c") == "W00"
        console = stub.console.rest()
    printed = user_space.printed(console)
    said = dict(re.findall(r"^([a-z ]+): (.*?)\r?$", printed, re.MULTILINE))
    assert said["soft watchdog"] == "1 10", "this kernel does not watch for soft lockups"
    assert said["rcu stall"] == "0", "this kernel does not watch for RCU stalls"
    moved = {name: int(said[name]) for name in ("monotonic", "boottime", "realtime", "counter")}
    # What the guest executes takes time, too, on a busy machine.
    assert max(moved.values()) < seconds * MICROSECONDS / 4, moved
    assert not COMPLAINTS.search(console), console
    assert said["clocksource"] == "arch_sys_counter"
    assert said["year"] == "1970", "the guest has no RTC"
    figure.append(f"halted for {seconds} s: the guest's clocks moved by {moved} µs")
