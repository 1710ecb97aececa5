"""Tables of a Linux guest for GDB's ``info os``: its tasks, its CPUs and its modules.

``gdbstub.linux`` reads the guest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from gdbstub.aarch64.registers import CPSR, PC
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.capabilities import OsTable
from gdbstub.machine import Machine, Power

if TYPE_CHECKING:
    from gdbstub.linux.guest import LinuxGuest

_Row = Mapping[str, str]


def tables(machine: Machine, linux: "Callable[[], LinuxGuest]") -> Sequence[OsTable]:
    """Return the tables of the guest that *linux* returns; each raises NotFound without Linux."""
    return (
        OsTable(
            "tasks", "Tasks", "Listing of the processes of a Linux guest", lambda: _tasks(linux())
        ),
        OsTable(
            "cpus", "CPUs", "Listing of the CPUs of a Linux guest, with what they execute",
            partial(_cpus, machine, linux),
        ),
        OsTable(
            "modules", "Modules", "Listing of the loaded modules of a Linux guest",
            lambda: _modules(linux()),
        ),
    )  # fmt: skip


def _tasks(guest: "LinuxGuest") -> Iterator[_Row]:
    for task in guest.tasks.all():
        yield {
            "pid": str(task.pid),
            "parent": str(task.parent),
            "state": task.state,
            "vcpu": str(task.cpu) if task.cpu >= 0 else "",
            "task": f"{task.gva:#x}",
            "name": task.name,
        }


def _cpus(machine: Machine, linux: "Callable[[], LinuxGuest]") -> Iterator[_Row]:
    running = linux().tasks.running()
    for index, vcpu in enumerate(machine.vcpus):
        row = {"cpu": str(index), "state": vcpu.power.value, "level": "", "pc": ""}
        row |= {"pid": "", "task": "", "name": ""}
        if vcpu.power is Power.ON:
            row |= {"level": f"EL{PSTATE(vcpu.get(CPSR)).EL}", "pc": f"{vcpu.get(PC):#x}"}
        if task := running.get(index):
            row |= {"pid": str(task.pid), "task": f"{task.gva:#x}", "name": task.name}
        yield row


def _modules(guest: "LinuxGuest") -> Iterator[_Row]:
    for module in guest.modules.all():
        yield {
            "name": module.name,
            "size": str(module.size),
            "references": str(module.references),
            "state": module.state.name.lower(),
            "address": f"{module.base:#x}",
            "module": f"{module.gva:#x}",
        }
