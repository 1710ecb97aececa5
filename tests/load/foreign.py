"""The runs on a VMM without a stub: debuggers that come and go, and that are killed."""

import os
import random
import signal
from collections.abc import Callable

from tests.contract.foreign_vmm import Vmm, attach_and_detach, kill_a_debugger
from tests.load.runs import Figures
from tests.load.usage import Usage


def attachments(count: int) -> Figures:
    """Attach, come to a breakpoint and detach, *count* times: nothing is left in the VMM."""
    return _rounds("attachments", count, attach_and_detach)


def kills(count: int) -> Figures:
    """Kill *count* debuggers at random moments: each is recovered from."""
    choose = random.Random(count)
    return _rounds("debuggers killed", count, lambda vmm: kill_a_debugger(vmm, choose))


def _rounds(name: str, count: int, once: Callable[[Vmm], object]) -> Figures:
    vmm = Vmm()
    try:
        before, early = vmm.traces(), Usage.now()
        for number in range(count):
            once(vmm)
            if number == count // 10:
                early = Usage.now()
        assert (after := vmm.traces()) == before, f"the VMM was {before}, and is {after}"
        assert vmm.counts_on(), "the guest counts no more"
        return Figures(name, count, early, Usage.now())
    finally:
        os.kill(vmm.pid, signal.SIGKILL)
