"""Modules and CPUs of a Linux guest with KASLR, compared with what the guest says itself."""

import lzma
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from gdbstub.lab import demo
from tests.bounds import HANGS
from tests.kvm.conftest import Built, LinuxFiles
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

pytestmark = pytest.mark.lengthy

_NAME: Final = re.compile(r"\d+-(.*)\.ko")
_IDLE: Final = re.compile(r"^([01]) +on +EL1 +0x[0-9a-f]+ +0 +0x[0-9a-f]+ swapper/([01]) *$", re.M)
#: Bytes of a function's first instructions, which GDB may put a breakpoint behind.
_PROLOGUE: Final = 16
#: A thread of the kernel may run when the guest is halted.
TRIES: Final = 5
INIT: Final = "rdinit=/modules"
#: Function that a timer's interrupt is handled in.
INTERRUPT: Final = "arch_timer_handler_virt"


def test_modules_cpus_and_stacks(linux: LinuxFiles, figure: list[str]) -> None:
    vmlinux = linux.symbols
    with Stub(
        linux.image, "--initrd", linux.initrd, "--append", linux.command_line(INIT),
        "--memory", "192M", "--symbols", vmlinux, "--smp", "2",
    ) as stub:  # fmt: skip
        early = gdb(stub, vmlinux, "monitor modules", "detach")
        assert "no vCPU has its MMU on: the kernel has not started yet" in early
        sleeper = stub.console.wait_for(r"modules: sleeper is (\d+)")
        stub.console.wait_for("modules: end")
        for _ in range(TRIES):
            began = time.monotonic()
            said = gdb(
                stub, vmlinux, "monitor modules", "info os modules", "monitor modules failover",
                "monitor modules nothing", "info os cpus", "echo stacks\\n", "monitor bt 1",
                "monitor bt 2", f"monitor bt {sleeper[1]}", "monitor bt 0", "bt 2",
                "monitor bt 99999", "detach",
            )  # fmt: skip
            took = time.monotonic() - began
            if len(_IDLE.findall(said)) == 2:
                break
        began = time.monotonic()
        tasks = gdb(
            stub, vmlinux, "set print thread-events off", "monitor tasks on",
            *(command for pid in (1, 2, int(sleeper[1])) for command in _in_task(pid)),
            "stepi", "echo interrupt\\n", "monitor tasks off", "thread 1", f"tbreak {INTERRUPT}",
            "continue", "monitor bt", "kill",
        )  # fmt: skip
        figure.append(
            f"attach and ten commands: {took:.1f} s, "
            f"tasks as threads: {time.monotonic() - began:.1f} s"
        )
        console = stub.console.rest()
    loaded = re.findall(r"modules: loaded (\w+) (\d+) (\d+) \S+ Live 0x([0-9a-f]+)", console)
    assert [row[0] for row in loaded] == ["net_failover", "failover"]
    ours = re.findall(r"^(\w+) +(\d+) +(\d+) +live +0x([0-9a-f]+) *$", said, re.M)
    tabled = re.findall(r"^(\w+) +(\d+) +(\d+) +live +0x([0-9a-f]+) 0x[0-9a-f]+ *$", said, re.M)
    assert ours == tabled
    # It was removed and loaded again since the guest said where it was.
    assert [row[:3] for row in ours] == [row[:3] for row in loaded]
    assert ours[1] == loaded[1]
    sections = dict(re.findall(r"modules: section failover ([\w.-]+):0x([0-9a-f]+)", console))
    assert len(sections) > 20
    shown = dict(re.findall(r"^([\w.-]+) +0x([0-9a-f]+)$", said, re.M))
    assert sections.items() <= shown.items()
    assert "no module nothing is loaded: monitor modules lists those that are" in said
    assert _IDLE.findall(said) == [("0", "0"), ("1", "1")]
    stacks = said.partition("stacks")[2]
    tasks, _, interrupted = tasks.partition("interrupt\n")
    _check_tasks(tasks, stacks, sleeper[1])
    if linux.has_names:
        _check_interrupt(interrupted)
        _check_stacks(console, stacks, sleeper[1])
    else:
        assert "No names: the kernel's VMCOREINFO has no SYMBOL(kallsyms_num_syms)" in stacks


def _in_task(pid: int) -> tuple[str, ...]:
    """Commands of GDB in the thread of a task; busybox, of which processes are, is at 0x400000."""
    thread = f"next(t for t in gdb.selected_inferior().threads() if t.ptid[1] == {10**7 + pid})"
    return (
        f"python task = {thread}; task.switch(); print('task', task.name, task.details)",
        "bt", "x/s 0x400001", "print $x19 != 0", "print $x0",
    )  # fmt: skip


def _check_tasks(said: str, bt: str, sleeper: str) -> None:
    """Each is the task that it should be, with the stack that ``monitor bt`` shows in *bt*."""
    assert re.search(r"^Threads are the vCPUs, and \d\d tasks that no vCPU executes\.$", said, re.M)
    stacks = re.split(r"^\S+, PID \d+, state \S.*$", bt, flags=re.M)[1:4]
    tasks = re.split(r"^task ", said, flags=re.M)[1:]
    names = ("modules PID 1", "kthreadd PID 2", f"sleep PID {sleeper}")
    for name, task, stack in zip(names, tasks, stacks, strict=True):
        assert task.startswith(f"{name}, state S\n")
        frames = re.findall(r"^#\d+ +(0x[0-9a-f]+) in (\w+)[\w.]* \(", task, re.M)
        shown = re.findall(r"^#\d+ +(0x[0-9a-f]+)(?: (\w+)\S*)?$", stack, re.M)
        assert [address for address, _ in frames] == [address for address, _ in shown]
        # An older kernel does not tell its names.
        assert [name for _, name in frames] == [name for _, name in shown] or not shown[0][1]
        mapped = "Cannot access memory" if name.startswith("kthreadd") else r'"ELF\002'
        assert mapped in task
        assert re.search(r"^\$\d+ = 1\n\$\d+ = <unavailable>$", task, re.M)
    assert f"No vCPU executes thread {10**7 + int(sleeper)}: it cannot be stepped" in tasks[2]


def _check_stacks(console: str, said: str, sleeper: str) -> None:
    """Compare stacks with the guest's own, which leave out the scheduler, and with GDB's."""
    first, second, third, idle = re.split(r"^\S+, PID \d+, state \S.*$", said, flags=re.M)[1:]
    for pid, shown in (("1", first), ("2", second), (sleeper, third)):
        theirs = re.findall(rf"modules: stack {pid} (\S+)/0x", console)
        ours = re.findall(r"^#\d+ +0x[0-9a-f]+ (\S+)$", shown, re.M)
        assert len(theirs) >= 2
        assert ours[0].startswith("__switch_to+")
        assert ours[-len(theirs) :] == theirs
    frames = re.findall(r"^#\d+ +0x[0-9a-f]+ (\w+)\+0x[0-9a-f]+$", idle, re.M)
    assert frames[0] == "cpu_do_idle"
    assert {"do_idle", "start_kernel"} <= set(frames)
    assert re.search(r"^#0 +0x[0-9a-f]+ in cpu_do_idle \(\)", idle, re.M)
    assert "there is no process 99999: monitor ps lists them" in idle


def _check_interrupt(said: str) -> None:
    """The stack goes on behind the exception, in what was interrupted, to its very beginning."""
    frames = re.findall(r"^#\d+ +0x[0-9a-f]+ (\w+)\+0x[0-9a-f]+$", said, re.M)
    assert frames[0] == INTERRUPT
    before = frames[frames.index("el1h_64_irq") + 1 :]
    assert len(before) >= 3, said
    assert before[-1] in ("__primary_switched", "__secondary_switched", "ret_from_fork"), said


@pytest.fixture
def modules(linux: LinuxFiles, tmp_path: Path) -> Path:
    """Modules as a distribution has them, one of which is compressed."""
    (banner,) = set(re.findall(rb"Linux version (\S+) ", linux.image.read_bytes()))
    directory = tmp_path / "lib/modules" / banner.decode() / "kernel/net"
    directory.mkdir(parents=True)
    for path in linux.modules.glob("*failover.ko"):
        match = _NAME.fullmatch(path.name)
        assert match
        if match[1] == "failover":
            (directory / "failover.ko.xz").write_bytes(lzma.compress(path.read_bytes()))
        else:
            (directory / f"{match[1]}.ko").write_bytes(path.read_bytes())
    return tmp_path


def test_breakpoints_in_modules_from_the_first_instruction_on(
    linux: LinuxFiles, modules: Path, figure: list[str]
) -> None:
    vmlinux = linux.symbols
    if linux.version >= (7, 0):  # there net_failover has neither an init nor an exit
        _check_init_of_failover(linux, modules)
        return
    with Stub(
        linux.image, "--initrd", linux.initrd, "--append", linux.command_line(INIT),
        "--memory", "192M", "--symbols", vmlinux, "--smp", "2", "--modules", modules,
    ) as stub:  # fmt: skip
        said = gdb(
            stub, vmlinux,
            "set breakpoint pending on", "break net_failover_init", "break net_failover_exit",
            "break failover_register",
            # An init, before its module has done anything.
            "continue", "echo 1st\\n", "bt", "monitor bt", "info symbol $pc", "info sharedlibrary",
            "monitor modules", "info breakpoints",
            # The exit: the init has no address in memory any more.
            "continue", "echo 2nd\\n", "info symbol $pc", "info sharedlibrary",
            # It is loaded again, elsewhere.
            "continue", "echo 3rd\\n", "info symbol $pc", "info sharedlibrary",
            "info address failover_register",
            "delete", "detach",
            expected=(
                "warning: remote target does not support file transfer",
                "warning: Temporarily disabling breakpoints for unloaded shared library",
            ),
        )  # fmt: skip
        stub.console.wait_for("modules: end")
        console = stub.console.text
        # A client that comes later has them all.
        late = gdb(
            stub, vmlinux, "info sharedlibrary", "info symbol failover_register", "kill",
            expected=["warning: remote target does not support file transfer"],
        )  # fmt: skip
    assert "/./" not in late
    assert len(re.findall(r"^0x.* Yes .*failover\.ko$", late, re.M)) == 2, late
    assert "failover_register in section .text of" in late
    _, *parts = re.split(r"^(?:1st|2nd|3rd)$", said, flags=re.M)
    first, second, third = parts
    assert re.search(r"hit Breakpoint 1, 0x[0-9a-f]+ in net_failover_init \(\)", said), said
    assert re.search(r"^#1 +0x[0-9a-f]+ in do_one_initcall \(\)", first, re.M), said
    assert re.search(r"^insmod, PID \d+, state R on vCPU [01]$", first, re.M), said
    frames = re.findall(r"^#\d+ +0x[0-9a-f]+ (\w+)\+0x[0-9a-f]+( \[\w+\])?$", first, re.M)
    assert frames[0] == ("net_failover_init", " [net_failover]"), said
    if linux.has_names:
        # The first has no record of its own yet.
        assert [name for name, _ in frames[1:3]] == ["do_one_initcall", "do_init_module"], said
        assert frames[-1] == ("el0t_64_sync", ""), said
    for part in (first, third):
        assert _offset("net_failover_init", ".init.text", part) < _PROLOGUE
        assert re.search(r"^0x.* Yes .*/\./net_failover\.ko$", part, re.M), said
    assert re.search(r"^net_failover +\d+ +1 +coming ", first, re.M), said
    assert re.search(r"hit Breakpoint 2, 0x[0-9a-f]+ in net_failover_exit \(\)", said), said
    offset = _offset("net_failover_exit", ".exit.text", second)
    assert offset < _PROLOGUE
    assert re.search(r"^0x.* Yes .*/net/net_failover\.ko$", second, re.M), said
    # Where the guest itself says that it is.
    text = re.search(r"modules: section failover \.text:0x([0-9a-f]+)", console)
    place = re.search(r"failover_register. is at 0x([0-9a-f]+)", third)
    assert text
    assert place
    assert int(place[1], 16) - int(text[1], 16) == _value(linux, "failover", "failover_register")
    exits = re.search(r"Breakpoint 2, 0x([0-9a-f]+) in", said)
    code = re.search(r"modules: section net_failover \.exit\.text:0x([0-9a-f]+)", console)
    assert exits
    assert code
    linked = _value(linux, "net_failover", "net_failover_exit")
    assert int(exits[1], 16) - int(code[1], 16) == linked + offset
    # One list a module and a stop; nothing of it is left with the client gone.
    assert "modules: left failover" in console


def _check_init_of_failover(linux: LinuxFiles, modules: Path) -> None:
    with Stub(
        linux.image, "--initrd", linux.initrd, "--append", linux.command_line(INIT),
        "--memory", "192M", "--symbols", linux.symbols, "--smp", "2", "--modules", modules,
    ) as stub:  # fmt: skip
        said = gdb(
            stub, linux.symbols,
            "set breakpoint pending on", "break failover_init", "continue", "monitor bt",
            "info symbol $pc", "info sharedlibrary", "monitor modules", "delete", "detach",
            expected=["warning: remote target does not support file transfer"],
        )  # fmt: skip
        stub.console.wait_for("modules: end")
    # It has two names.
    name = "(?:failover_init|init_module)"
    assert re.search(rf"hit Breakpoint 1, 0x[0-9a-f]+ in {name} \(\)", said), said
    assert re.search(r"^insmod, PID \d+, state R on vCPU [01]$", said, re.M), said
    assert re.search(rf"^#\d+ +0x[0-9a-f]+ {name}\+0x[0-9a-f]+ \[failover\]$", said, re.M), said
    assert re.search(r"^#\d+ +0x[0-9a-f]+ do_one_initcall\+0x[0-9a-f]+$", said, re.M), said
    assert _offset(name, ".init.text", said) < _PROLOGUE
    assert re.search(r"^0x.* Yes .*/\./.*failover\.ko$", said, re.M), said
    assert re.search(r"^failover +\d+ +\d+ +coming ", said, re.M), said


def _offset(function: str, section: str, said: str) -> int:
    """Return the bytes from *function* to its breakpoint, as ``info symbol`` has it.

    GDB chooses them by the instructions, so they depend on the kernel.
    """
    found = re.search(rf"^{function}(?: \+ (\d+))? in section {re.escape(section)} of", said, re.M)
    assert found, said
    return int(found[1] or 0)


def _value(linux: LinuxFiles, module: str, symbol: str) -> int:
    """Return the value of *symbol* in the file of *module*."""
    (path,) = linux.modules.glob(f"*-{module}.ko")
    table = subprocess.run(
        ["aarch64-linux-gnu-nm", path], capture_output=True, text=True, check=True, timeout=HANGS
    ).stdout  # fmt: skip
    (line,) = (line for line in table.splitlines() if line.split()[-1] == symbol)
    return int(line.split()[0], 16)


def test_what_is_no_directory_of_modules(tmp_path: Path, vmlinux: Path) -> None:
    for words, why in (
        (("--modules", tmp_path / "none"), "none: is no directory; expected one with a kernel's"),
        (("--modules", tmp_path), "has no module (*.ko, .ko.xz, .ko.zst, .ko.gz) of the kernel 6"),
        (("--modules", vmlinux), "vmlinux: is no directory; expected one with a kernel's"),
        (("--modules", tmp_path, "--symbols", __file__), "is not an ELF file"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "gdbstub", "run", *words],
            capture_output=True, text=True, timeout=HANGS,
        )  # fmt: skip
        assert done.returncode == 2
        assert why in done.stderr


def test_breakpoints_of_one_process(vmlinux: Path, initrd: Path) -> None:
    """Two processes execute one program; one of them is there only after an exec."""
    program = Built(initrd.parent / "tree" / "turn")
    command_line = "console=ttyAMA0 quiet rdinit=/processes"
    with Stub(
        demo.prepare().image, "--initrd", initrd, "--append", command_line, "--memory", "192M",
        "--symbols", vmlinux, "--smp", "2",
    ) as stub:  # fmt: skip
        said = gdb(
            stub, vmlinux,
            "monitor process", "monitor process turn", f"break *{program['turn']:#x}",
            *["continue", "info os cpus"] * 3,
            "monitor process other", *["continue", "info os cpus"] * 3,
            "monitor process all", "delete", "kill",
        )  # fmt: skip
        console = stub.console.rest()
    assert "Breakpoints in programs stop in any process that they were set in." in said
    assert "Breakpoints in programs stop in process other only." in said
    hits = re.split(r" hit Breakpoint 1, ", said)[1:]
    assert len(hits) == 6
    turn = re.search(r"processes: turn is (\d+)", console)
    assert turn
    for hit, name in zip(hits, ["turn"] * 3 + ["other"] * 3, strict=True):
        found = re.findall(rf"^[01] +on +EL0 +{program['turn']:#x} +(\d+) +\S+ (\w+)", hit, re.M)
        assert name in [each for _, each in found]
        assert name == "other" or (turn[1], name) in found
