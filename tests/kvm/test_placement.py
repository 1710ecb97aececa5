"""Breakpoints in a Linux guest whose memory is given to others, or checked by the kernel itself."""

import re
from pathlib import Path

import pytest

from tests.bounds import HANGS
from tests.kvm import user_space
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub
from tests.lldb.debugger import lldb

pytestmark = pytest.mark.lengthy

#: More than there are comparators, in text that the kernel frees when it has booted.
EARLY = (
    *("start_kernel", "setup_arch", "trap_init", "sched_init"),
    *("rcu_init", "time_init", "console_init", "vfs_caches_init"),
)
STOPS = 50


@pytest.mark.parametrize("client", ["lldb", "gdb"])
def test_freed_memory_that_is_filled_with_zeros_stays_zeros(
    initrd: Path, vmlinux: Path, client: str
) -> None:
    """GDB keeps its breakpoints inserted at stops here, as LLDB does by default."""
    arguments = [*user_space.arguments(initrd, "zeros"), "--memory", "160M"]
    with Stub(*arguments) as stub:
        continues = ["continue"] * (STOPS - len(EARLY))
        if client == "lldb":
            first, *more = (f"breakpoint set --name {name}" for name in EARLY)
            said = lldb(
                stub.remote, vmlinux, first, "continue", *more, *["continue"] * len(more),
                "breakpoint set --name __arm64_sys_sync", *continues,
                "process plugin packet monitor break list", "detach", timeout=HANGS,
            )  # fmt: skip
        else:
            first, *more = (f"break {name}" for name in EARLY)
            said = gdb(
                stub, vmlinux, "set breakpoint always-inserted on",
                first, "continue", *more, *["continue"] * len(more),
                "break __arm64_sys_sync", *continues, "monitor break list", "detach",
            )  # fmt: skip
        console = stub.console.rest()
        assert stub.wait() == 0
    assert said.count("in __arm64_sys_sync") + said.count("`__arm64_sys_sync") >= len(continues)
    assert re.search(r"^break .* (comparator|nothing): not mapped", said, re.MULTILINE), said
    assert re.search(r"^filled: (\d\d+) of ", console, re.MULTILINE), console
    assert re.search(r"^not zero: 0\r?$", console, re.MULTILINE), console
    assert "failed" not in console, console


@pytest.mark.parametrize("offset", [0, 4, 8])
def test_the_kernel_traces_functions_that_have_breakpoints(
    initrd: Path, vmlinux: Path, offset: int
) -> None:
    """ftrace, and a kprobe: both look at the words at a function's beginning, and replace them."""
    functions = ("do_sys_openat2", "__do_softirq")
    with Stub(*user_space.arguments(initrd, "check")) as stub:
        said = gdb(
            stub, vmlinux, "break start_kernel", "continue", "delete",
            *(f"break *({name} + {offset}) if 0" for name in functions),
            "break __arm64_sys_sethostname", "continue", "monitor break list", "delete", "continue",
        )  # fmt: skip
        assert "exited normally" in said, said + stub.console.text
        console = stub.console.rest()
        assert stub.wait() == 0
    found = dict(re.findall(r"^([a-z ]+): (.*?)\r?$", console, re.MULTILINE))
    assert (found["kprobe"], found["ftrace"], found["ftrace off"]) == ("1", "on", "nothing"), (
        console
    )
    assert "WARNING" not in console
    assert len(re.findall(r"^break .* armed  comparator: patch site$", said, re.MULTILINE)) >= 2
    counts = [int(n) for n in re.findall(r"^break +\S+ +4 +0 +(\d+) +armed", said, re.MULTILINE)]
    assert len(counts) == len(functions)
    assert min(counts) > 0, said
