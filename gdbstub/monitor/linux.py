"""Commands on a Linux guest: its log, and a core file of it.

``gdbstub.linux`` reads the guest.
"""

from gdbstub.linux import log, vmcore
from gdbstub.linux.core_file import check_name
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


@command("vmcore", "NAME")
def vmcore_(context: CommandContext, name: str) -> str:
    """Write RAM and registers to a new file as kdump does, for crash, drgn and GDB.

    The file is made in the directory that the stub was started in. With a NAME that ends in .zst
    it is compressed (zstd).
    """
    check_name(name)
    size = 0

    def output(data: bytes) -> None:
        nonlocal size
        size += len(data)
        write(data)

    with context.new_file(name) as write:
        missing = vmcore.write(context.kernel, output)
    said = f"Wrote {name}, {size >> 20} MiB.\n"
    return said + (f"It has no VMCOREINFO: {missing}\n" if missing else "")
