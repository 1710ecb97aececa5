"""A real Linux kernel under a real LLDB."""

import re
from pathlib import Path

from gdbstub.lab import demo
from tests.bounds import HANGS
from tests.kvm.stub import Stub
from tests.lldb.debugger import lldb


def test_lldb_debugs_a_linux_guest_and_leaves_it_running(vmlinux: Path) -> None:
    with Stub() as stub:
        said = lldb(
            stub.remote,
            vmlinux,
            "breakpoint set --name start_kernel",
            "continue",
            "breakpoint set --name sched_init",
            "continue",
            "bt",
            "register read x29 sp pc SCTLR_EL1",
            "disassemble --pc --count 2",
            "thread step-inst",
            "register read pc",
            "watchpoint set expression -w write -- $sp - 16",
            "continue",
            "watchpoint delete 1",
            "detach",
            timeout=HANGS,
        )
        assert re.search(r"breakpoint 1.1\n +frame #0: 0x\w+ vmlinux`start_kernel", said)
        assert re.search(r"0x\w+ vmlinux`sched_init\n +frame #1: 0x\w+ vmlinux`start_k", said)
        assert re.search(r"SCTLR_EL1 = 0x\w+", said), said
        at, after = (int(pc, 16) for pc in re.findall(r"\bpc = (0x\w+)", said))
        assert after == at + 4
        assert "stop reason = instruction step into" in said
        old, new = re.search(r"old value: (\d+)\s+new value: (\d+)", said).groups()  # type: ignore[union-attr]
        assert old != new
        assert "stop reason = watchpoint 1" in said
        # Nothing of LLDB's is left in the guest: it boots.
        stub.console.wait_for(re.escape(demo.INIT_LINE))
