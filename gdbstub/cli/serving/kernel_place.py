"""The place of a kernel that runs already, or boots, found without a client.

The stub's own stop points need it. A vCPU in a program may not lead to it, so the guest is halted
now and then until one does.
"""

import asyncio
import logging
from typing import Final

from gdbstub.debug.run_state import RunState
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.machine import Machine
from gdbstub.monitor import monitored_debugger

_log = logging.getLogger("gdbstub.run")

#: The time that the guest runs between two looks, and that they take at most, in seconds.
_SLICE: Final = 0.1
_SECONDS: Final = 20.0


async def locate(
    machine: Machine, program: GuestProgram, stopped: "asyncio.Future[int]"
) -> GuestProgram:
    """Return *program* with the place of its kernel; *machine* is halted before and after.

    It gives up when *stopped* is done, and after 20 s, with a warning.
    """
    debugger = monitored_debugger(machine, program)
    loop, halted = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        loop.call_soon_threadsafe(halted.set)

    debugger.notify = notify
    until = loop.time() + _SECONDS
    while (place := debugger.relocation()) is None and loop.time() < until:
        debugger.detach()
        await asyncio.wait({stopped}, timeout=_SLICE)
        debugger.interrupt()
        while debugger.running:
            await halted.wait()
            halted.clear()
            debugger.take_report()
        if stopped.done() or debugger.state is RunState.EXITED:
            break
    else:
        if place is None:
            _log.warning(
                "no vCPU leads to the kernel of --symbols (is it the guest's?): no panic, oops, "
                "warn or reset is seen until a client has halted the guest in its kernel"
            )
    return program._replace(expected=place)
