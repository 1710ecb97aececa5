"""KASLR command: shows where a Linux kernel is, and how a client moves its symbols there.

``linux/locator.py`` finds it.
"""

import shlex
from pathlib import Path
from typing import Final

from gdbstub.aarch64.registers import CPSR, SCTLR_EL1
from gdbstub.aarch64.sysreg import PSTATE, SCTLR
from gdbstub.errors import NotFound
from gdbstub.monitor.context import CommandContext, command

_LATER: Final = "It can be located once it has set VBAR_EL1."
_EARLY: Final = """\
 To stop soon after, break where start_kernel is while
the MMU is off, by a BRK, delete that breakpoint there, and ask again:
  monitor break prefer software
  break *{start_kernel:#x}
"""
_EXPECTED: Final = """\
The kernel will be {offset:#x} above where it was linked: a trial boot went there.
"""
_FIXED: Final = """\
The kernel will be where it was linked, at {start:#x}: its command line keeps it there.
"""
_UNMAPPED: Final = """\
While a program runs, the kernel may be unmapped and its vectors put aside (KPTI): let the guest
go on, stop it in the kernel and ask again.
"""
_MOVE: Final = """\
A client that attaches now moves its symbols by itself. One that is here already, if GDB:
  symbol-file {file} -o {offset:#x}
or LLDB:
  target modules load --file {name} --slide {offset:#x}
"""


@command("kaslr")
def kaslr(context: CommandContext) -> str:
    """Show the offset of the Linux kernel from its link addresses, and how to move symbols.

    The kernel can be located from when it has set VBAR_EL1, early in its boot. That takes its
    own symbols: --symbols vmlinux.
    """
    program = context.locator.program
    try:
        place, how = context.locator.find()
    except NotFound as why:
        said = f"Cannot locate the kernel.\n{why}\n"
        if not program.kernel:
            return said
        if (expected := program.expected) is not None and not SCTLR(context.vcpu.get(SCTLR_EL1)).M:
            text = _EXPECTED if expected.offset else _FIXED
            return text.format(start=expected.start, offset=expected.offset)
        if not SCTLR(context.vcpu.get(SCTLR_EL1)).M:
            start = program.kernel.start_kernel
            return said + _LATER + (_EARLY.format(start_kernel=start) if start else "\n")
        return said + _UNMAPPED if not PSTATE(context.vcpu.get(CPSR)).EL else said
    if not place.offset:
        return f"The kernel is where it was linked, at {place.start:#x}: {how}.\n"
    file = shlex.quote(program.file)
    name = shlex.quote(Path(program.file).name)
    where = f"The kernel is {place.offset:#x} above where it was linked: {how}.\n"
    return where + _MOVE.format(file=file, name=name, offset=place.offset)
