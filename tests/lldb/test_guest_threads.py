"""A thread of the guest's own in a real LLDB: seen, and neither changed nor resumed alone."""

import re

from tests.gdb.guest_threads import THREAD, Waiting
from tests.lldb.conftest import Client

REFUSED = f"No vCPU executes thread {THREAD}: it cannot be stepped or continued alone."


def test_it_is_a_thread_with_a_stack(lldb_client: Client) -> None:
    """``bt`` has the value of n. LLDB 14 at times waits for itself in ``frame variable``.

    That is where another thread of its own is showing the frame that was selected right before.
    """
    Waiting(lldb_client)
    said = lldb_client(
        "thread list", "thread select 2", "bt", "register read x19",
        "register read", "breakpoint set --name touch", "continue", "thread list",
        "thread select 1", "thread step-inst", "thread step-inst --run-mode all-threads",
        "thread list", "detach",
    )  # fmt: skip
    listed = re.findall(
        rf"^[ *] thread #2: tid = {THREAD:#x}, .*factorial.* name = '(.*)'$", said, re.M
    )
    assert listed == ["sleeper (PID 42, state S)"] * 3, said
    frames = re.findall(r"^ +\*? +frame #(\d): 0x[0-9a-f]+ guest\.elf`(\w+)", said, re.M)
    assert frames.count(("1", "main")) == 1, said
    assert re.search(r"^ +\* frame #0: 0x[0-9a-f]+ guest\.elf`factorial\(n=3\)", said, re.M), said
    assert re.search(r"^ +x19 = 0x0000000000000013$", said, re.M), said
    assert re.search(r"^\d+ registers were unavailable\.$", said, re.M), said
    assert re.search(r"^\* thread #1: .*touch.* stop reason = instruction step", said, re.M), said


def test_its_registers_are_only_read(lldb_client: Client) -> None:
    Waiting(lldb_client)
    said = lldb_client("thread select 2", "register write x19 5")
    assert "Failed to write register 'x19'" in said


def test_it_is_not_stepped_alone(lldb_client: Client) -> None:
    """LLDB shows the line as the reason of a stop, by which a script ends."""
    Waiting(lldb_client)
    said = lldb_client("thread select 2", "thread step-inst", "breakpoint list")
    assert f"stop reason = {REFUSED}" in said
    assert "breakpoint list" not in said
