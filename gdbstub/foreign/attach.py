"""Attach and recover: the steps from a process to a machine, and what a killed debugger left.

No client is served here.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

from gdbstub.errors import InputError
from gdbstub.foreign import permission, qmp, slots
from gdbstub.foreign.attachment import Attachment
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.launch import Launch
from gdbstub.foreign.machine import ForeignMachine
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.patches import restore
from gdbstub.foreign.process import VmmProcess

_log = logging.getLogger("gdbstub.foreign")


@contextlib.contextmanager
def attached(
    process: VmmProcess, given: Sequence[MemorySlot] = (), *, descendant: bool = False
) -> Iterator[ForeignMachine]:
    """Attach to *process*, whose guest is halted inside, and runs on afterwards.

    Raises:
        InputError: it cannot be attached to; nothing was touched.
        MachineError: KVM cannot debug it.
    """
    options = permission.check(process, descendant=descendant)
    told = () if given else _ask_qemu(process)
    with Journal(process) as journal:
        attachment = Attachment(process, options)
        with _machine(attachment, journal) as machine:
            # The RAM is found by the registers of the machine that it is for.
            found = slots.find(process, given or told, machine.vcpus, attachment.memory.read)
            why = "" if found.valid else found.evidence
            machine.use(found.slots, found.evidence, why)
            machine.complete = bool(told)
            journal.begin(found.slots, attachment.areas)
            if not found.valid:
                state = "read-only" if found.slots else "not known"
                _log.warning("RAM is %s: %s", state, found.evidence)
            yield machine


@contextlib.contextmanager
def launched(
    argv: Sequence[str], wanted: Callable[[], bool] = lambda: True
) -> Iterator[ForeignMachine]:
    """Start a VMM, whose guest is halted at its first instruction inside, and runs on afterwards.

    It is ended if it is not *wanted* any more before that, and after an error inside.

    Raises:
        InputError: it cannot be started, or ended before it ran a vCPU.
        MachineError: KVM cannot debug its guest.
    """
    with Launch(argv, wanted) as launch, Journal(launch.process) as journal:
        options = permission.suspension(launch.process)
        attachment = Attachment(launch.process, options, launch)
        with _machine(attachment, journal) as machine:
            machine.use(launch.slots, "as the VMM has told KVM")
            machine.complete = True
            journal.begin(launch.slots, attachment.areas)
            yield machine


@contextlib.contextmanager
def _machine(attachment: Attachment, journal: Journal) -> Iterator[ForeignMachine]:
    """Make the machine of *attachment*; the guest runs on afterwards, as it was before."""
    try:
        if journal.stale:
            undo(attachment, journal)
        machine = ForeignMachine(attachment, journal)
    except BaseException:
        attachment.close()
        raise
    try:
        yield machine
    finally:
        machine.close()
        journal.end()  # not if the guest could not be left as it was


def _ask_qemu(process: VmmProcess) -> Sequence[MemorySlot]:
    if not process.name.startswith("qemu"):
        return ()
    for name in qmp.sockets(process.command_line):
        if found := qmp.slots(process.file(name)):
            return found
    return ()


def undo(attachment: Attachment, journal: Journal) -> int:
    """Remove what a killed debugger has left in a guest; return the number of patches undone.

    Raises:
        MachineError: KVM failed.
    """
    attachment.use(journal.slots, "its debugger's journal")
    restored = attachment.tracer.call(
        lambda: sum(restore(attachment.ram, ipa, patch) for ipa, patch in journal.left.items())
    )
    attachment.tracer.call(lambda: attachment.protect(journal.areas))
    attachment.tracer.call(attachment.disarm)
    _log.warning(
        "a debugger of process %d was killed: restored %d instruction%s that it had left replaced",
        attachment.process.pid,
        restored,
        "s" * (restored != 1),
    )
    return restored


def recover(process: VmmProcess) -> int:
    """Undo what a killed debugger has left behind in *process*; return the number of patches.

    Raises:
        InputError: there is nothing to undo, or the process cannot be attached to.
    """
    if not Journal.exists(process):
        raise InputError(
            f"nothing is left of a debugger in process {process.pid}: it has no journal"
        )
    options = permission.check(process)
    with Journal(process) as journal:
        restored = 0
        if journal.stale:
            with contextlib.closing(Attachment(process, options)) as attachment:
                restored = undo(attachment, journal)
        journal.end()
    return restored
