"""Commands on a Linux guest: log, processes, backtraces, the reason of a stop, a core file.

``gdbstub.linux`` reads the guest.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from gdbstub.aarch64.registers import PC
from gdbstub.errors import MachineError, NotFound
from gdbstub.linux import log, vmcore
from gdbstub.linux.core_file import check_name
from gdbstub.linux.names import Names
from gdbstub.linux.process import Process
from gdbstub.linux.task_threads import TaskThreads
from gdbstub.linux.tasks import Task
from gdbstub.monitor.context import CommandContext, command
from gdbstub.monitor.text import count, table
from gdbstub.target import Stopped, StopReason

#: Lines of the log that tell why a guest has stopped.
_LAST: Final = 10
#: Most characters of the log that are shown, its end: a kernel's has a megabyte, seldom more.
_MOST_SHOWN: Final = 8 << 20
_REASONS: Final = {
    StopReason.SWBREAK: "a breakpoint",
    StopReason.HWBREAK: "a hardware breakpoint",
    StopReason.WATCH: "a watchpoint: written",
    StopReason.RWATCH: "a watchpoint: read",
    StopReason.AWATCH: "a watchpoint: read or written",
}


@command("dmesg", "[LENGTH]", long=True)
def dmesg(context: CommandContext, last: int | None) -> str:
    """Show the log of a Linux kernel, or its last LENGTH lines; it need not have a console.

    The log is read from RAM, from when the kernel has made its VMCOREINFO, early in its boot. No
    symbols are needed.
    """
    last = last and min(last, _MOST_SHOWN)  # a line is a character, at least
    shown, size, left_out = deque[str](maxlen=last), 0, 0
    for line in _log(context):
        size += len(line) + 1 - (len(shown[0]) + 1 if last and len(shown) == last else 0)
        shown.append(line)
        while size > _MOST_SHOWN:
            size -= len(shown.popleft()) + 1
            left_out += 1
    text = "".join(f"{line}\n" for line in shown)
    if not left_out:
        return text
    limit = f"monitor dmesg shows {_MOST_SHOWN} characters at most"
    return f"({left_out} lines before are left out: {limit})\n{text}"


def _log(context: CommandContext) -> Iterator[str]:
    """Yield the lines of the log."""
    kernel = context.kernel
    for record in log.records(kernel.info, kernel.reader()):
        yield from record.lines()


@command("ps", long=True)
def ps(context: CommandContext) -> str:
    """List the processes of a Linux guest: PID, parent, state, the vCPU that executes it, name.

    A name in brackets is of a thread of the kernel. No symbols are needed, but the kernel's BTF.
    """
    rows, damage = list[tuple[str, ...]](), ""
    try:
        for task in context.kernel.tasks.all():
            name = f"[{task.name}]" if task.kernel_thread else task.name
            cpu = str(task.cpu) if task.cpu >= 0 else "-"
            rows.append((str(task.pid), str(task.parent), task.state, cpu, f"{task.gva:#x}", name))
    except NotFound as reason:
        damage = f"{reason}\n"
    head = ("PID", "PPID", "S", "vCPU", "task", "name")
    return (table(rows, head) if rows else "") + damage


@command("bt", "[PID]", long=True)
def bt(context: CommandContext, pid: int | None) -> str:
    """Show where a process or thread of a Linux guest is in the kernel; alone: this thread.

    It may sleep or run, and its return addresses may be signed. Names are those of the kernel's
    kallsyms (Linux 6.0 and newer); no symbols are needed.
    """
    kernel = context.kernel
    names = Names(kernel)
    pid = context.pid if pid is None else pid
    if pid is None:
        task = kernel.tasks.running().get(context.index)
        frames = list(kernel.backtraces.of_vcpu(context.index, names.function))
    else:
        task = kernel.tasks.find(pid)
        frames = list(kernel.backtraces.frames(task, names.function))
    lines = [_headline(task, context.asked.thread - 1)]
    if not frames:
        return f"{lines[0]}It executes a program, or its stack is damaged.\n"
    lines += [f"#{n:<3} {gva:#x} {names.name(gva)}".rstrip() + "\n" for n, gva in enumerate(frames)]
    return "".join(lines) + names.missing


def _headline(task: Task | None, vcpu: int) -> str:
    if task is None:
        return f"vCPU {vcpu}\n"
    place = f" on vCPU {task.cpu}" if task.cpu >= 0 else ""
    return f"{task.name}, PID {task.pid}, state {task.state}{place}\n"


@command("tasks", "[on|off]", long=True)
def tasks(context: CommandContext, switch: str | None) -> str:
    """Show tasks of Linux that no vCPU executes as threads, beside the vCPUs (off at first).

    info threads lists them, as PID + 10000000, and bt shows where they are in the kernel. Their
    registers are those that the kernel keeps: x19 to x29, sp and pc. Nothing of them can be
    changed, and none can be stepped or continued alone. The list is read at each stop, when the
    client asks for it.
    """
    debugger = context.debugger
    if switch:
        debugger.tasks = None
        if switch == "on":
            debugger.tasks = TaskThreads(context.kernel, debugger.caches)
    if debugger.tasks is None:
        return "Threads are the vCPUs.\n"
    try:
        number = len(debugger.tasks.threads())
    except NotFound as reason:
        return f"Tasks that no vCPU executes will be threads. There is none yet: {reason}\n"
    return f"Threads are the vCPUs, and {count(number, 'task')} that no vCPU executes.\n"


@command("process", "[NAME]")
def process(context: CommandContext, wanted: str | None) -> str:
    """Let breakpoints in programs stop in the process NAME or PID only; all: in any; alone: say.

    It may start, or execute its program, at any time later. A name is as ps shows it, up to 15
    letters. Breakpoints in the kernel stop as ever.
    """
    if wanted == "all":
        context.debugger.process = None
    elif wanted:
        context.debugger.process = Process(context.machine, context.debugger.memory, wanted)
    now = context.debugger.process
    if not isinstance(now, Process):
        return "Breakpoints in programs stop in any process that they were set in.\n"
    return f"Breakpoints in programs stop in process {now.wanted} only.\n"


@command("vmcore", "NAME", long=True)
def vmcore_(context: CommandContext, name: str) -> str:
    """Write RAM and registers to a new file as kdump does, for drgn and GDB.

    The file is made in the directory that the stub was started in. With a NAME that ends in .zst
    it is compressed (zstd).
    """
    check_name(name)
    with context.new_file(name) as output:
        size, missing = vmcore.write(context.kernel, output)
    said = f"Wrote {name}, {size >> 20} MiB.\n"
    return said + (f"It has no VMCOREINFO: {missing}\n" if missing else "")


@command("why", long=True)
def why(context: CommandContext) -> str:
    """Say why the guest is halted, and show the last lines of a Linux kernel's log.

    --stop-on panic,oops,warn,reset halts a guest where it does one of these.
    """
    report = context.debugger.report()
    if not isinstance(report, Stopped):
        return "The guest has ended.\n"
    said = report.text or _REASONS.get(report.stop, f"stopped by signal {report.signal.name}")
    pc = context.machine.vcpus[report.thread - 1].get(PC)
    lines = [f"Thread {report.thread} at {pc:#x}: {said}\n"]
    try:
        lines += [f"{line}\n" for line in deque(_log(context), _LAST)]
    except (NotFound, MachineError) as reason:
        lines.append(f"No log: {reason}\n")
    return "".join(lines)
