"""A thread of the guest's own in a real GDB: seen, and neither changed nor resumed alone."""

import re

from tests.gdb.conftest import Client
from tests.gdb.guest_threads import THREAD, Waiting

REFUSED = f"No vCPU executes thread {THREAD}: it cannot be stepped or continued alone."


def test_it_is_a_thread_with_a_stack(gdb: Client) -> None:
    Waiting(gdb)
    said = gdb("info threads", "thread 2", "bt", "print n", "print $x19", "print $x0", "up", "list")
    assert re.search(
        rf'^  2 +Thread {THREAD} "sleeper" \(PID 42, state S\) +0x\w+ in factorial \(n=3\)', said,
        re.M,
    ), said  # fmt: skip
    # What is selected, then the stack, then the frame above.
    frames = re.findall(r"^#(\d) +0x[0-9a-f]+ in (\w+)", said, re.M)
    above = ("1", "main")
    assert frames == [("0", "factorial"), ("0", "factorial"), above, above], said
    assert "$1 = 3\n$2 = 19\n$3 = <unavailable>\n" in said
    assert "total += factorial(5);" in said


def test_it_is_only_read(gdb: Client) -> None:
    Waiting(gdb)
    said = gdb("thread 2", "set var $x19 = 1", "print $x19", "stepi", "next", "info threads")
    assert 'Could not write register "x19"' in said
    assert "$1 = 19" in said
    assert said.count(REFUSED) == 2, said
    assert re.search(r"^\* 2 +Thread .*factorial \(n=3\)", said, re.M), said


def test_the_guest_goes_on_with_it_selected_and_stops_in_a_vcpu(gdb: Client) -> None:
    Waiting(gdb)
    said = gdb(
        "break touch", "thread 2", "continue", "info threads", "stepi", "thread 2", "bt 1",
        "set scheduler-locking on", "continue", "kill",
    )  # fmt: skip
    assert re.search(r'^Thread 1 "CPU0" hit Breakpoint 1, touch \(\)', said, re.M), said
    assert re.search(r"^  2 +Thread .*factorial \(n=3\)", said, re.M), said
    assert said.count(REFUSED) == 1, said


def test_the_next_client_does_not_see_it(gdb: Client) -> None:
    Waiting(gdb)
    assert f"Thread {THREAD}" in gdb("info threads")
    said = gdb("info threads", "monitor tasks")
    assert f"Thread {THREAD}" not in said
    assert "Threads are the vCPUs.\n" in said


def test_no_vcpu_is_current_with_it_selected_and_the_guest_goes_on(gdb: Client) -> None:
    Waiting(gdb)
    said = gdb("thread 2", "monitor info", "monitor tasks off", "break touch", "continue", "kill")
    assert re.search(r"^vCPU 0 +EL1h at 0x\w+, MMU off$", said, re.M), said
    assert "hit Breakpoint 1, touch ()" in said
