"""Addresses without a device: reads give 0, writes are ignored, one warning for each address."""

import re

from tests.kvm.conftest import Built
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub


def test_nothing_reads_as_zero_and_is_told_once(devices: Built) -> None:
    with Stub(devices.path) as stub:
        said = gdb(stub, devices.path, "break done", "continue", "print result", "continue")
        assert "$1 = 0\n" in said
        assert "exited normally" in said
        assert stub.wait() == 0
    told = re.findall(r"0xa00[01]000", stub.messages.rest())
    assert sorted(told) == ["0xa000000", "0xa001000"]
