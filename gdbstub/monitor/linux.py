"""Commands on a Linux guest: its log.

``gdbstub.linux`` reads the guest.
"""

from gdbstub.linux import log
from gdbstub.monitor.context import CommandContext, command


@command("dmesg", "[LENGTH]")
def dmesg(context: CommandContext, last: int | None) -> str:
    """Show the log of a Linux kernel, or its last LENGTH lines; it need not have a console.

    The log is read from RAM, from when the kernel has made its VMCOREINFO, early in its boot. No
    symbols are needed.
    """
    kernel = context.kernel
    found = [line for each in log.records(kernel.info, kernel.reader()) for line in each.lines()]
    return "".join(f"{line}\n" for line in (found[-last:] if last else found))
