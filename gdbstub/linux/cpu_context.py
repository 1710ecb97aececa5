"""Registers of tasks that no vCPU executes: those that the kernel keeps for switching to them.

Source: linux/arch/arm64/include/asm/processor.h (struct cpu_context), kernel/entry.S
(cpu_switch_to).
"""

from collections.abc import Mapping
from typing import Final

from gdbstub.aarch64.registers import PC, SP, X
from gdbstub.architecture import Register
from gdbstub.errors import NotFound
from gdbstub.linux.btf import Btf

_NAMES: Final[Mapping[str, Register]] = {f"x{n}": X[n] for n in range(19, 29)} | {
    "fp": X[29],
    "sp": SP,
    "pc": PC,
}


def saved_registers(types: Btf) -> Mapping[Register, int]:
    """Return the offset in a task of each register that is kept, x29 and the PC among them.

    Raises:
        NotFound: the kernel's BTF has no cpu_context, or one without these two.
    """
    context = types.members("task_struct", ("thread",))["thread"]
    context += types.members("thread_struct", ("cpu_context",))["cpu_context"]
    found = types.members("cpu_context", tuple(_NAMES))
    if missing := {"fp", "pc"} - found.keys():
        raise NotFound(f"the kernel's BTF has a structure cpu_context without {min(missing)}")
    return {_NAMES[name]: context + at for name, at in found.items()}
