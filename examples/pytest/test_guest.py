"""Tests of a bare-metal guest, from outside: by its console and by GDB."""

import pytest

from gdbstub.pytest_plugin.console import Console
from gdbstub.pytest_plugin.gdb import Gdb
from gdbstub.pytest_plugin.guest import Guest


def test_the_self_test_passes(guest: Guest, console: Console) -> None:
    """Without the fixture gdb the guest runs from the start."""
    result = console.expect(r"self-test: (\w+)\n")[1]
    assert result == "passed"
    assert guest.wait() == 0  # it has powered off


@pytest.mark.smp(2)
def test_both_vcpus_count(gdb: Gdb) -> None:
    """With it the guest is halted at its first instruction."""
    gdb.execute("break main")
    gdb.execute("continue")
    gdb.execute("watch finished")
    for _ in range(2):
        stop = gdb.execute("continue")
        assert "Hardware watchpoint" in stop
    assert gdb.evaluate("total") == "2000"


# One guest for the tests below: each restarts it, without a new start of the stub.
shared = pytest.mark.kernel(scope="module")


@shared
def test_crc32_of_the_check_string(gdb: Gdb) -> None:
    """A command as a person types it ends at the guest's next stop."""
    gdb.reset()
    gdb.execute("break crc32")
    gdb.execute("continue")
    assert gdb.evaluate("length") == "9"
    finished = gdb.execute("finish")
    assert "Value returned is" in finished
    assert gdb.evaluate("$x0") == str(0xCBF43926)


@shared
def test_the_total_is_written_by_work_alone(gdb: Gdb) -> None:
    """A command of GDB/MI has its results as a dict."""
    gdb.reset()
    gdb.mi("-break-watch total")
    gdb.resume()
    stop = gdb.wait_for_stop()
    assert stop["reason"] == "watchpoint-trigger"
    frame = stop["frame"]
    assert isinstance(frame, dict)
    assert frame["func"] == "work"
