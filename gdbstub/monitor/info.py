"""Info command: the guest, and how it is debugged. It changes nothing."""

from typing import Final

from gdbstub.aarch64.registers import CNTVCT_EL0, CPSR, MDSCR_EL1, PC, SCTLR_EL1, TCR_EL1
from gdbstub.aarch64.sysreg import MDSCR, PSTATE, SCTLR, TCR
from gdbstub.machine import Power, Vcpu, described
from gdbstub.monitor.context import CommandContext, command
from gdbstub.monitor.control import step_irqs, time
from gdbstub.monitor.text import count, table

_GRANULE: Final = {0b00: "4", 0b01: "64", 0b10: "16"}  # KiB, by TCR_EL1.TG0


@command("info")
def info(context: CommandContext) -> str:
    """Show what is debugged, and how: guest, vCPUs, slots, clock, client."""
    machine = context.machine
    about = described(machine)
    rows = [("machine", "offers no description")] if about is None else list(about.about.items())
    rows += [
        (f"vCPU {index}", _vcpu(context, index)) for index in range(len(context.machine.vcpus))
    ]
    rows += [
        ("slots", f"{count(machine.breakpoint_slots, 'breakpoint')} and "
                  f"{count(machine.watchpoint_slots, 'watchpoint')} in hardware"),
        ("guest's debug", _own_debug(context)),
        ("registers", f"{len(machine.system_registers)} system registers"),
        ("counter", f"CNTVCT_EL0 is {context.vcpu.get(CNTVCT_EL0)}"),
        ("time", time(context, None).rstrip()),
        ("steps", step_irqs(context, None).rstrip()),
        ("client", b" ".join(sorted(context.asked.features)).decode("ascii", "replace") or
                   "announces no feature"),
    ]  # fmt: skip
    return table(rows)


def _vcpu(context: CommandContext, index: int) -> str:
    vcpu = context.machine.vcpus[index]
    here = ", current thread" if context.is_current(index) else ""
    if vcpu.power is Power.OFF:
        return f"{vcpu.power.value}{here}"
    pstate = PSTATE(vcpu.get(CPSR))
    level = f"EL{pstate.EL}{'h' if pstate.SP else 't'}" if not pstate.nRW else "AArch32 EL0"
    return f"{level} at {vcpu.get(PC):#x}, {_mmu(vcpu)}{here}"


def _mmu(vcpu: Vcpu) -> str:
    if not SCTLR(vcpu.get(SCTLR_EL1)).M:
        return "MMU off"
    tcr = TCR(vcpu.get(TCR_EL1))
    return f"MMU on, {_GRANULE.get(tcr.TG0, '?')} KiB granule, {64 - tcr.T0SZ} bits"


def _own_debug(context: CommandContext) -> str:
    """Describe the debug features that the guest uses itself and KVM may hide from it."""
    uses: list[str] = []
    for index, vcpu in enumerate(context.machine.vcpus):
        mdscr = MDSCR(vcpu.get(MDSCR_EL1))
        if mdscr.MDE:
            uses.append(
                f"vCPU {index} uses hardware breakpoints or watchpoints (MDSCR_EL1.MDE), which do "
                "not fire while KVM has any of the debugger's, but for those set before the last "
                "stop, as far as slots last"
            )
        if mdscr.SS:
            uses.append(
                f"vCPU {index} steps itself (MDSCR_EL1.SS), which KVM does not do while anything "
                "of the debugger's is armed"
            )
    return "; ".join(uses) or "not used"
