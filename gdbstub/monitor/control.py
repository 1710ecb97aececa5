"""Control commands: start the guest over, end it, and set how it is run. None resumes it."""

from typing import Final

from gdbstub.errors import MachineError
from gdbstub.machine import virtual_time
from gdbstub.monitor.context import CommandContext, command

_STALE: Final = (
    "GDB still has the old registers: type  maint flush register-cache\n"
    "LLDB has them until the next stop: step once.\n"
)
_STEPS: Final = {
    False: "Steps let no interrupt in (step-irqs off).\n",
    True: "A step may end at an interrupt's vector (step-irqs on).\n",
}
_TIME: Final = {
    "still": "The guest's clock stands still while it is halted (time still).\n",
    "free": "The guest's clock runs on while it is halted (time free).\n",
}


@command("reset")
def reset(context: CommandContext) -> str:
    """Start the guest over, halted at its first instruction.

    Memory, registers and devices are as they were at the start; breakpoints stay. GDB does
    not notice: "maint flush register-cache" makes it ask for everything anew.
    """
    context.debugger.reset()
    return f"The guest is at its first instruction again.\n{_STALE}"


@command("quit")
def quit_(context: CommandContext) -> str:
    """End the guest, and the stub with it."""
    context.debugger.kill()
    return "The guest has ended.\n"


@command("step-irqs", "[on|off]")
def step_irqs(context: CommandContext, wanted: str | None) -> str:
    """Let a step end at an interrupt's vector, or not (off at first); alone: say which.

    off: stepi executes the instruction at PC and nothing else, though an interrupt is
    pending; the guest takes that when it goes on.
    on: a step is KVM's. A pending interrupt comes first, and the step ends at its vector,
    with the instruction not executed.
    """
    if wanted:
        context.debugger.step_irqs = wanted == "on"
    return _STEPS[context.debugger.step_irqs]


@command("time", "[free|still]")
def time(context: CommandContext, wanted: str | None) -> str:
    """Let the guest's clock run while it is halted, or not (still at first); alone: say which.

    still: the virtual counter goes on from where it stood, so the guest does not notice how
    long it was halted.
    free: the counter runs on as time does; the guest's timers may be due when it goes on.
    """
    if (clock := virtual_time(context.machine)) is None:
        if wanted == "still":
            raise MachineError("this machine offers no clock that stands still, only time free")
        return _TIME["free"]
    if wanted:
        clock.time_stands_still = wanted == "still"
    return _TIME["still" if clock.time_stands_still else "free"]
