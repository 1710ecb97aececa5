"""The runs on a VMM without a stub: debuggers that come and go, and that are killed."""

import os
import random
import signal

from tests.contract.foreign_vmm import Vmm, attach_and_detach, kill_a_debugger
from tests.load.runs import Figures
from tests.load.usage import Usage


def attachments(count: int) -> Figures:
    """Attach, come to a breakpoint and detach, *count* times: nothing is left in the VMM."""
    vmm = Vmm()
    try:
        before, early = vmm.traces(), Usage.now()
        for number in range(count):
            attach_and_detach(vmm)
            if number == count // 10:
                early = Usage.now()
        assert vmm.traces() == before
        assert vmm.counts_on()
        return Figures("attachments", count, early, Usage.now())
    finally:
        os.kill(vmm.pid, signal.SIGKILL)


def kills(count: int) -> Figures:
    """Kill *count* debuggers at random moments: each is recovered from."""
    vmm, choose = Vmm(), random.Random(count)
    try:
        before, early = vmm.traces(), Usage.now()
        for number in range(count):
            kill_a_debugger(vmm, choose)
            if number == count // 10:
                early = Usage.now()
        assert vmm.traces() == before
        assert vmm.counts_on()
        return Figures("debuggers killed", count, early, Usage.now())
    finally:
        os.kill(vmm.pid, signal.SIGKILL)
