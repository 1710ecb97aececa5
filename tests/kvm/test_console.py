"""The guest's serial console, both ways, with the kernel's own driver at the other end."""

import os
import pty
import re
from pathlib import Path

from gdbstub.lab import demo
from tests.kvm.stub import Stub


def test_a_shell_that_is_typed_at_and_switches_off(vmlinux: Path) -> None:
    keyboard, terminal = pty.openpty()
    with Stub("--free-run", "--smp", "2", stdin=terminal) as stub:
        os.close(terminal)
        stub.console.wait_for(re.escape(demo.INIT_LINE))
        # More than the UART's FIFO holds at once, so its interrupt has work.
        long = "x" * 200
        os.write(keyboard, f"echo {long} | wc -c\necho cpus=$(nproc)\npoweroff -f\n".encode())
        stub.console.wait_for(r"(?m)^201\b")
        stub.console.wait_for(r"cpus=2\b")
        assert stub.wait() == 0, stub.messages.rest()
    os.close(keyboard)
